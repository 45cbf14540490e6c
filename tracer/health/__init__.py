"""How are we? Log lines, probes and metrics: what the process says about itself. Nothing that it tells on is changed by it."""
