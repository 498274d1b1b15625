"""Dictionaries of features: directions that sparse autoencoders and transcoders found in a model's activations."""
