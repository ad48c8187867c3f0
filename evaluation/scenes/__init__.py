"""Labelled scenes of full resolution, put together from labelled pictures, in several weathers."""
