"""Data sets: generated in the published style, and read safely from the published files."""

from ._condiff_files import read_condiff
from ._condiff_run import generate_condiff, generate_condiff_file
from ._fields import CirculantEmbedding, Covariance, gaussian_field
from ._floor import KBlindError, k_blind_error
from ._stencil import Order, condiff_matrix
from .channels import (
    CHANNEL_FAMILIES,
    ChannelConfig,
    Profile,
    Scatter,
    channel_covariance,
    comb_pilots,
    draw_channels,
    draw_ofdm_channels,
    noise_variance,
    ofdm_covariance,
    qpsk_pilots,
    simulate_pilots,
)
from .condiff import (
    CONFIGS,
    ConDiffConfig,
    ConDiffData,
    Rhs,
    Source,
    Split,
    draw_condiff,
)
from .delay_lines import (
    DelayLineConfig,
    LineParameters,
    delay_line_covariances,
    draw_delay_lines,
    draw_line_parameters,
)

__all__ = [
    "CHANNEL_FAMILIES",
    "CONFIGS",
    "ChannelConfig",
    "CirculantEmbedding",
    "ConDiffConfig",
    "ConDiffData",
    "Covariance",
    "DelayLineConfig",
    "KBlindError",
    "LineParameters",
    "Order",
    "Profile",
    "Rhs",
    "Scatter",
    "Source",
    "Split",
    "channel_covariance",
    "comb_pilots",
    "condiff_matrix",
    "delay_line_covariances",
    "draw_channels",
    "draw_condiff",
    "draw_delay_lines",
    "draw_line_parameters",
    "draw_ofdm_channels",
    "gaussian_field",
    "generate_condiff",
    "generate_condiff_file",
    "k_blind_error",
    "noise_variance",
    "ofdm_covariance",
    "qpsk_pilots",
    "read_condiff",
    "simulate_pilots",
]
