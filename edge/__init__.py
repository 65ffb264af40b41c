"""The process that runs heads."""
