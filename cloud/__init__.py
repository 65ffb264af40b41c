"""The process that runs tails."""
