"""The trainer: loop, devices, optimisers, checkpoints, logs."""
