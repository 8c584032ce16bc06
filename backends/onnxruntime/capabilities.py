"""What ONNX Runtime can do here. Loads no framework.

Its CPU kernels of convolutions are float32 alone: in float64 and bfloat16 a session is refused ("Could not find an
implementation for Conv(11)", https://github.com/microsoft/onnxruntime/issues/7546).
"""

from ..capabilities import Capabilities
from .tunings import NAMES

CAPABILITIES = Capabilities(precisions=("float32",), tunings=NAMES, phases=("forward",), note="inference only")
