"""Which backend should I choose? The command line and the report. Imports no framework."""
