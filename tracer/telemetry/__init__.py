"""Sentences: how we say what was judged, in OpenTelemetry's words. Pure."""
