"""Parameters on disk: what other people call them, how files wrap them, a run's checkpoints."""
