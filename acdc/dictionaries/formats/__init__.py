"""One file for each format of dictionaries; `acdc.dictionaries.open` chooses."""
