"""What PyTorch can do here. Loads no framework."""

from ..capabilities import Capabilities
from .tunings import NAMES

CAPABILITIES = Capabilities(tunings=NAMES, replicas=True)
