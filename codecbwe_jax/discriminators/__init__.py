"""Critics: pure modules that return a score and their feature maps."""
