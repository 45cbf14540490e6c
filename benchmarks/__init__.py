"""How fast, and in how much memory? Measured as ratios to peers in the same run; see README.md."""
