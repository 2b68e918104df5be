"""Scores of the published benchmarks, one file per family."""
