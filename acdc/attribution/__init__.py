"""One prompt in, an attribution graph out: what every neuron or feature adds to the others and to the logits."""
