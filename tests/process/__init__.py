"""The whole controller against an API server and a backend on loopback."""
