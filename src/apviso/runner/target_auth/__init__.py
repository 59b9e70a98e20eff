"""Credentials for targets: kept in a file on this host, turned into headers for the guard. They never go anywhere else."""
