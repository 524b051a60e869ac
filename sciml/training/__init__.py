"""Training. Importing this loads torch; `import sciml` does not import it."""

from .plan import Plan
from .trainer import Trained, train

__all__ = ["Plan", "Trained", "train"]
