"""Attacks on features of pictures, and the prior over pictures that they use."""
