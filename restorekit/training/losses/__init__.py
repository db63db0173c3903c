"""Losses for training: one file per kind."""
