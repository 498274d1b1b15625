"""Many runs: job files, their store, workers on this machine or on a Ray cluster."""
