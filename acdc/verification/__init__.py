"""Show by ablation how far a circuit carries a behaviour, and what chance would do as well."""
