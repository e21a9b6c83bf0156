"""Systems in plain PyTorch; an export holds one of these files with the parts that it imports."""
