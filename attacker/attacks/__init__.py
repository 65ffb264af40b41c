"""Ways to turn captured payloads into a reconstruction."""
