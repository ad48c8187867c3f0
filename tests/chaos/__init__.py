"""Faults while a job runs: nothing unprotected is published, and nothing is lost."""
