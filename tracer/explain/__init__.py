"""The story of a run, for people."""
