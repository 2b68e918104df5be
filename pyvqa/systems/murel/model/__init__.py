"""The networks of MuRel and of the attention baseline."""
