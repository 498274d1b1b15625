"""One file per method of scoring edges, and what several of them share."""
