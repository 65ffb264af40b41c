"""Experiments, each of which fills a table or a figure."""
