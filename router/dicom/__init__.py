"""PS3.5, PS3.6 and PS3.10 without I/O: UIDs, tags, encodings, character sets, the scanner, Part 10 files."""
