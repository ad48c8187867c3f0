"""Scoring of outputs against labelled pictures, benchmarks and attacks."""
