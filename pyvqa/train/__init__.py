"""The one training loop and what it stands on; see `stage` for what a system brings along."""
