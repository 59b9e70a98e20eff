"""The runner daemon: claims scans, runs them beside the target and reports. It never imports the server and never opens a port."""
