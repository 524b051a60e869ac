"""Networks and their weights. Importing this loads torch; `import sciml` does not import it."""

from .convex import ConvexNetwork
from .denoiser import Beams, ChannelDenoiser, Denoiser, GatedDenoiser, Padding, UNetDenoiser
from .directions import DirectionNetwork, SingleLevel
from .icnn import ConvexDense, ConvexImages, ConvexPatch
from .mixture import ConvexMixture
from .multilevel import Multilevel
from .prediction import FNO, Predictor, UNet
from .stencil import Stencil
from .weights import (
    Pretrained,
    PretrainedDenoiser,
    PretrainedPredictor,
    PretrainedProximal,
    load_denoiser,
    load_network,
    load_predictor,
    load_proximal,
    read_card,
    save_network,
    weights_path,
)

__all__ = [
    "FNO",
    "Beams",
    "ChannelDenoiser",
    "ConvexDense",
    "ConvexImages",
    "ConvexMixture",
    "ConvexNetwork",
    "ConvexPatch",
    "Denoiser",
    "DirectionNetwork",
    "GatedDenoiser",
    "Multilevel",
    "Padding",
    "Predictor",
    "Pretrained",
    "PretrainedDenoiser",
    "PretrainedPredictor",
    "PretrainedProximal",
    "SingleLevel",
    "Stencil",
    "UNet",
    "UNetDenoiser",
    "load_denoiser",
    "load_network",
    "load_predictor",
    "load_proximal",
    "read_card",
    "save_network",
    "weights_path",
]
