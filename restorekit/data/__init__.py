"""Data for training: clean pictures, and degraded ones made from them on the fly."""
