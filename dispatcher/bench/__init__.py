"""Benchmarks: each prints what it measured with machine, versions, targets. Tiny versions run in the tests."""
