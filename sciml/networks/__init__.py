"""Networks. Importing this loads torch; `import sciml` does not import it."""

from .directions import DirectionNetwork, SingleLevel
from .multilevel import Multilevel
from .stencil import Stencil

__all__ = ["DirectionNetwork", "Multilevel", "SingleLevel", "Stencil"]
