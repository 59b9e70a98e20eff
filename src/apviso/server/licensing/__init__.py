"""What a license permits, checked offline."""
