"""The product with nothing installed."""
