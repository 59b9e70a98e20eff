"""Reports of ended scans: one document, written once and kept in several formats."""
