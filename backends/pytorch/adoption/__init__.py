"""Users' own modules: traced as they run, and put behind the contract."""
