"""Weights and their cards: from a name to a network that is ready to run."""
