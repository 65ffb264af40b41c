"""Scenes of posed pictures, and a radiance field that learns them, cut in two."""
