"""Networks and their weights. Importing this loads torch; `import sciml` does not import it."""

from .directions import DirectionNetwork, SingleLevel
from .multilevel import Multilevel
from .stencil import Stencil
from .weights import Pretrained, load_network, read_card, save_network, weights_path

__all__ = [
    "DirectionNetwork",
    "Multilevel",
    "Pretrained",
    "SingleLevel",
    "Stencil",
    "load_network",
    "read_card",
    "save_network",
    "weights_path",
]
