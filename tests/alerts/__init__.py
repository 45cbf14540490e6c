"""The alerts: rules.yaml and the object that is written from it; promtool runs the unit tests beside this, in tests/cluster."""
