"""Interventions: parts of a model set, scaled or added to, and what the model then says."""
