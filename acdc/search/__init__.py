"""Search methods and their registry, how a circuit is chosen from scores, and the exact search of ACDC."""
