"""Which network is a user's own module? Its trace matched with a spec, or made into one, and the proof."""

from .adopt import adopt
from .adoption import Adoption

__all__ = ["Adoption", "adopt"]
