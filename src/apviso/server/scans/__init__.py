"""Scans, their attempts and leases."""
