"""Training. Importing this loads torch; `import sciml` does not import it."""

from .mixture import fit_mixture
from .plan import Plan
from .proximal import (
    Noisy,
    ProximalMatching,
    Stage,
    matching_loss,
    mean_absolute_loss,
    mean_square_loss,
    published_stages,
)
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
from .trainer import Constrained, Trained, train

__all__ = [
    "Constrained",
    "LogNormal",
    "LogUniform",
    "Noised",
    "Noisy",
    "Plan",
    "ProximalMatching",
    "Stage",
    "SureScore",
    "Trained",
    "ambient_loss",
    "denoising_loss",
    "fit_mixture",
    "matching_loss",
    "mean_absolute_loss",
    "mean_square_loss",
    "noised",
    "published_stages",
    "sure_loss",
    "train",
]
