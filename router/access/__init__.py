"""Access: whether a requestor may open an association (`policy`), and how many at once (`limits`)."""
