"""The promise: what is due is delivered, acknowledged, and forgotten only then."""
