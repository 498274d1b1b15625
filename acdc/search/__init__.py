"""Search methods, one file each, and the exact search of ACDC with its state."""
