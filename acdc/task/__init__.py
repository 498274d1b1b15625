"""Prompt pairs: reading, tokenizing, metrics, ablations, and the behaviour that binds them to a model."""
