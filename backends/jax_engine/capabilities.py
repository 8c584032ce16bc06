"""What the engine can do, for the backends that are built on it. Loads no framework."""

from ..capabilities import Capabilities
from .tunings import NAMES

CAPABILITIES = Capabilities(tunings=NAMES, replicas=True)
