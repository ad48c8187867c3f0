"""Benchmarks; each prints a ratio against a peer or the plain way, measured in the same run."""
