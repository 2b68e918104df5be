"""MuRel: relational reasoning over the regions of a picture (Cadene et al. 2019)."""
