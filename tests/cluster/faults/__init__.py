"""Tests of what is lost, doubled and in conflict when something fails, on a real cluster."""
