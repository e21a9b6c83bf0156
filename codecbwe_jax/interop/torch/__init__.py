"""Plain PyTorch files that exports carry; each stands alone."""
