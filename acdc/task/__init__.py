"""Prompt pairs: read, tokenize, split and generate them; the metrics that they are judged by."""
