"""Speed of the built-in world."""
