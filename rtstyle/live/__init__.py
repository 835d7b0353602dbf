"""Camera to window."""
