"""The process that listens and inverts."""
