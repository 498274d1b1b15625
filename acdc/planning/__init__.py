"""What a run will cost: work, time and memory, said before it starts."""
