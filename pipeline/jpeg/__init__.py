"""JPEG structure: segments, metadata, coding."""
