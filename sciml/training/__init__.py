"""Training. Importing this loads torch; `import sciml` does not import it."""

from .trainer import Plan, Trained, train

__all__ = ["Plan", "Trained", "train"]
