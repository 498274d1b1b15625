"""What a feature, a neuron or a head means: where it is active, what it reads, and what it writes."""
