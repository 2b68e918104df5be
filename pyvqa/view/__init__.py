"""Results in, pictures and pages out. Nothing here knows a system."""
