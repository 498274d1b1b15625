"""A model, rows, a metric and an ablation, bound together: the only way in which anything above measures a subgraph."""
