"""What a listener makes of the split training of a radiance field."""
