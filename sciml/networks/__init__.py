"""Networks and their weights. Importing this loads torch; `import sciml` does not import it."""

from .denoiser import Beams, ChannelDenoiser, Denoiser, GatedDenoiser, Padding, UNetDenoiser
from .directions import DirectionNetwork, SingleLevel
from .multilevel import Multilevel
from .prediction import FNO, Predictor, UNet
from .stencil import Stencil
from .weights import (
    Pretrained,
    PretrainedDenoiser,
    PretrainedPredictor,
    load_denoiser,
    load_network,
    load_predictor,
    read_card,
    save_network,
    weights_path,
)

__all__ = [
    "FNO",
    "Beams",
    "ChannelDenoiser",
    "Denoiser",
    "DirectionNetwork",
    "GatedDenoiser",
    "Multilevel",
    "Padding",
    "Predictor",
    "Pretrained",
    "PretrainedDenoiser",
    "PretrainedPredictor",
    "SingleLevel",
    "Stencil",
    "UNet",
    "UNetDenoiser",
    "load_denoiser",
    "load_network",
    "load_predictor",
    "read_card",
    "save_network",
    "weights_path",
]
