"""What needs the extra for an old Jaeger: run in an environment of its own, by tests/test_jaeger.py."""
