"""A page about one unit: a feature, a neuron or a head."""
