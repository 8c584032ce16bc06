"""Users' own modules in Flax Linen, behind the contract of a model."""
