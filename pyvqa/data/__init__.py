"""Official files in, tensors out."""
