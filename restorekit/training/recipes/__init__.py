"""Training recipes: one file each, typed functions that return a configuration."""
