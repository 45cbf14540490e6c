"""A real one-node Kubernetes with Tekton and Jaeger on this machine: `python -m tests.cluster.lab --help`."""
