"""Training. Importing this loads torch; `import sciml` does not import it."""

from .plan import Plan
from .score import (
    LogNormal,
    LogUniform,
    Noised,
    SureScore,
    ambient_loss,
    denoising_loss,
    noised,
    sure_loss,
)
from .trainer import Trained, train

__all__ = [
    "LogNormal",
    "LogUniform",
    "Noised",
    "Plan",
    "SureScore",
    "Trained",
    "ambient_loss",
    "denoising_loss",
    "noised",
    "sure_loss",
    "train",
]
