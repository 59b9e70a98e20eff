"""What may be scanned: normalized addresses and their visibility."""
