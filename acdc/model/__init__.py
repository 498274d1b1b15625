"""Load a model, read its anatomy, and run it as a graph."""
