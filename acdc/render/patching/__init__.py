"""Heat maps of activation patching: as pictures, and in a page."""
