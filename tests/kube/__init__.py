"""Tests of the room `kube`."""
