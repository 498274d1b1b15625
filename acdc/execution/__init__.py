"""Run a model's components as a graph with parts ablated, given their arithmetic. Knows nothing of files or tasks."""
