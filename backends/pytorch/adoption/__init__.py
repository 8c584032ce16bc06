"""Users' own modules: traced as they run, and put behind the contract. PyTorch alone has this."""
