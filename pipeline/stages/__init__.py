"""The steps one image takes; plain callables without any engine inside."""
