"""Does a method find the true circuit? Models whose circuit is known, scoring, and tables."""
