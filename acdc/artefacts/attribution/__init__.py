"""Attribution graphs of one prompt as data: nodes, weights, influence, pruning, files. Imports no torch."""
