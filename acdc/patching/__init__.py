"""Activation patching: what of a model, and at which tokens, carries the difference between two runs."""
