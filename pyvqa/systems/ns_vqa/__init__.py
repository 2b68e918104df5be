"""NS-VQA: questions parsed into programs, executed on scenes (Yi et al. 2018)."""
