"""What two or more of the PyTorch files share."""
