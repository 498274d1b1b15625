"""From settings to run directories: one run, a file of jobs, workers on this machine or on a Ray cluster."""
