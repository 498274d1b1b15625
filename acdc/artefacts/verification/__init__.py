"""Records of how far a circuit carries a behaviour: verification.json and examples.json."""
