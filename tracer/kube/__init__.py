"""The cluster's door, and that of its recordings."""
