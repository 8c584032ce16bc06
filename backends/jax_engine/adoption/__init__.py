"""Users' own modules in a library on JAX, behind the contract of a model."""
