"""Many pictures safely: what is given, where each result goes, and what became of it."""
