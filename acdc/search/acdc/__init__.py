"""ACDC (Conmy et al. 2023): the exact greedy search, at the cost of what each test reaches."""
