"""What this backend can do. Tables and completion ask before anything is built, so this loads no framework."""

from backends.capabilities import Capabilities
from backends.jax_engine.tunings import NAMES

CAPABILITIES = Capabilities(precisions=("float64", "float32", "tf32"), tunings=NAMES)
