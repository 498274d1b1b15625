"""The circuit as an artefact, and how one is chosen from scores."""
