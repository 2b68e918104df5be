"""The shipped models, one folder each; `pyvqa.load(name)` finds them by the folder's name."""
