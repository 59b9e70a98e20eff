"""Checks a scan image against the contract: the runner's own flags, a small target behind a real guard, several situations."""
