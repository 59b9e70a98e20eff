"""The control plane: registers runners, judges readiness, leases scans, keeps results."""
