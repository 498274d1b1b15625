"""Sparse feature circuits: which features of a dictionary, and which of its errors, carry a behaviour."""
