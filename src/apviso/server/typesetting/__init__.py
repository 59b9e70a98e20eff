"""Sets a report as PDF in a process of its own, which knows nothing of the server and gets nothing but the report."""
