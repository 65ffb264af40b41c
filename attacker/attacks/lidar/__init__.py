"""Attacks on sparse-voxel features."""
