"""Training of networks: one resumable loop, tasks, losses and recipes."""
