"""Training tasks: one file each, from a batch to a loss."""
