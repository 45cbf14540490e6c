"""What only a real cluster and a real Jaeger can say."""
