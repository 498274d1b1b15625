"""Train transcoders and sparse autoencoders, small and honest: for models that have none."""
