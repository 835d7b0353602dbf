"""The page that paints in the browser: what it consists of, and serving it."""
