"""What scans found, over attempts and scans."""
