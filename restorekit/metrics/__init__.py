"""Metrics: one file each, one import line here per file."""
