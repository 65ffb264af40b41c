"""Inversion networks that learn from queries: the black-box attacks of "Unlocking Visual Secrets" (2024)."""
