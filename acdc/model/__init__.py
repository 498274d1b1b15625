"""Get a model: find it, load it, read its weights, place it on devices."""
