"""Who may connect, and how many at once: policy (pure) and limits."""
