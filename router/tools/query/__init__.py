"""Query a peer (C-FIND as SCU) from the command line: the identifier from words, and the answers as text."""
