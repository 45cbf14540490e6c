"""Traces of Tekton runs, told from what Kubernetes really said.

A fact travels through the rooms in this order: `kube` or a recording, `tekton`, `lifecycle`, `telemetry`, `delivery`.
"""

__version__ = "0.1.0"
