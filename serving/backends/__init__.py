"""Models behind one door: the inference backends."""
