"""Words and files of the commands that deal with channels."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sciml.datasets import ChannelConfig


class Family(Enum):
    """--family; the values are the keys of `sciml.datasets.CHANNEL_FAMILIES`."""

    CDL_A = "cdl-a"
    CDL_B = "cdl-b"
    CDL_C = "cdl-c"
    CDL_D = "cdl-d"
    MIXED = "mixed"
    RANDOM = "random"

    def config(self, nt: int, nr: int) -> ChannelConfig:
        """The family between so many antennas."""
        from sciml.datasets import CHANNEL_FAMILIES

        return replace(CHANNEL_FAMILIES[self.value], nt=nt, nr=nr)


def power_db(error: np.ndarray, truth: np.ndarray) -> float:
    """||error||² / ||truth||² of each channel, the mean over the batch in dB."""
    sums = [np.sum(np.abs(x) ** 2, axis=(-2, -1), dtype=np.float64) for x in (error, truth)]
    return float(10 * np.log10(np.mean(sums[0] / sums[1])))
