"""What is the model? Specs, canonical tensors, cost, and the zoo. Imports no framework."""

from .catalog import load_spec, spec_names
from .errors import ShapeError, SpecError, TandemError, WeightsError
from .recipe import SGD, Adam, AdamW, Recipe
from .schema import UNetSpec
from .weights import initial_weights, load_weights, save_weights

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Recipe",
    "ShapeError",
    "SpecError",
    "TandemError",
    "UNetSpec",
    "WeightsError",
    "initial_weights",
    "load_spec",
    "load_weights",
    "save_weights",
    "spec_names",
]
