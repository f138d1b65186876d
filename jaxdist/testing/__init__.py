"""The property kit: what tests a compressor of your own in your own test suite."""

from typing import TYPE_CHECKING, Any

from jaxdist.testing._check_compressor import PROPERTIES as PROPERTIES
from jaxdist.testing._check_compressor import CompressorReport as CompressorReport
from jaxdist.testing._check_compressor import PropertyReport as PropertyReport
from jaxdist.testing._check_compressor import check_compressor as check_compressor
from jaxdist.testing._compressor_cases import CompressorCase as CompressorCase
from jaxdist.testing._compressor_cases import compressor_cases as compressor_cases
from jaxdist.testing._estimates import Estimate as Estimate
from jaxdist.testing._estimates import estimate_bias as estimate_bias
from jaxdist.testing._estimates import estimate_contraction as estimate_contraction
from jaxdist.testing._estimates import estimate_variance as estimate_variance

if TYPE_CHECKING:
    from jaxdist.testing._strategies import gradient_trees as gradient_trees
    from jaxdist.testing._strategies import leaves as leaves

__all__ = [
    "PROPERTIES",
    "CompressorCase",
    "CompressorReport",
    "Estimate",
    "PropertyReport",
    "check_compressor",
    "compressor_cases",
    "estimate_bias",
    "estimate_contraction",
    "estimate_variance",
    "gradient_trees",
    "leaves",
]


def __getattr__(name: str) -> Any:
    """Import the strategies when they are asked for: they need hypothesis."""
    if name in ("gradient_trees", "leaves"):
        from jaxdist.testing import _strategies

        return getattr(_strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
