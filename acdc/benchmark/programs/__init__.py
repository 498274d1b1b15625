"""Small programs, compiled to the weights of a transformer, with their circuit known by construction."""
