"""Spans leave for a collector: the only package that knows OpenTelemetry, imported where ``otlp_endpoint`` is set."""
