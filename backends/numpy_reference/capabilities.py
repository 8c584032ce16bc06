"""What the NumPy reference can do here. Loads no framework."""

from ..capabilities import Capabilities

CAPABILITIES = Capabilities(precisions=("float64",), tunings=("default",), devices=("cpu",))
