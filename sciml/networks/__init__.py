"""Networks and their weights. Importing this loads torch; `import sciml` does not import it."""

from .directions import DirectionNetwork, SingleLevel
from .multilevel import Multilevel
from .prediction import FNO, Predictor, UNet
from .stencil import Stencil
from .weights import (
    Pretrained,
    PretrainedPredictor,
    load_network,
    load_predictor,
    read_card,
    save_network,
    weights_path,
)

__all__ = [
    "FNO",
    "DirectionNetwork",
    "Multilevel",
    "Predictor",
    "Pretrained",
    "PretrainedPredictor",
    "SingleLevel",
    "Stencil",
    "UNet",
    "load_network",
    "load_predictor",
    "read_card",
    "save_network",
    "weights_path",
]
