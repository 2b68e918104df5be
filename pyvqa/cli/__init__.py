"""The command line: one thin file per command, found and run by `main`."""
