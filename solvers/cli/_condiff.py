"""The options that name a ConDiff set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import BadInput, refusals

if TYPE_CHECKING:
    from sciml.datasets import ConDiffConfig


def condiff_config(
    covariance: str | None, variance: float | None, poisson: bool, grid: int
) -> ConDiffConfig:
    """The set that these options ask for; BadInput where they do not fit together."""
    from sciml.datasets import ConDiffConfig, Covariance

    if poisson and (covariance is not None or variance is not None):
        raise BadInput("expected --poisson or --covariance with --variance, got both: leave one")
    if not poisson and (covariance is None or variance is None):
        raise BadInput("expected --covariance and --variance, or --poisson: give these")
    kinds = {kind.value: kind for kind in Covariance}
    if covariance is not None and covariance not in kinds:
        raise BadInput(
            f"expected --covariance as one of {', '.join(kinds)}, got {covariance}: choose one"
        )
    with refusals():
        return ConDiffConfig(None if covariance is None else kinds[covariance], variance, grid)
