"""Nouns: what the cluster says, as small frozen values."""
