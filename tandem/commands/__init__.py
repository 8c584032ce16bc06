"""One module a command, and a `run` in each that prints and returns the exit code."""
