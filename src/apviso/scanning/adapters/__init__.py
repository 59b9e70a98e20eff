"""The scanners, one file each: the command line with its bounds, and the report turned into findings. None is ever imported."""
