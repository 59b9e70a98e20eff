"""Scans that start by themselves, and an account of every one that did or did not."""
