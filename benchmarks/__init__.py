"""Which is faster? The worker that times one cell, its records and verdicts. Importing this loads no framework."""
