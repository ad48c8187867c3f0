"""Attackers that try to bring back what was redacted: who it was, what a plate said."""
