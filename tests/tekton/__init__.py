"""Tests of the room `tekton`."""
