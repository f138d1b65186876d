"""The property kit: what tests a compressor of your own in your own test suite."""

from typing import TYPE_CHECKING, Any

from jaxdist.testing._check_compressor import PROPERTIES as PROPERTIES
from jaxdist.testing._check_compressor import CompressorReport as CompressorReport
from jaxdist.testing._check_compressor import PropertyReport as PropertyReport
from jaxdist.testing._check_compressor import check_compressor as check_compressor
from jaxdist.testing._check_rule import RULE_PROPERTIES as RULE_PROPERTIES
from jaxdist.testing._check_rule import RuleReport as RuleReport
from jaxdist.testing._check_rule import check_rule as check_rule
from jaxdist.testing._compressor_cases import CompressorCase as CompressorCase
from jaxdist.testing._compressor_cases import compressor_cases as compressor_cases
from jaxdist.testing._estimate_kappa import KappaEstimate as KappaEstimate
from jaxdist.testing._estimate_kappa import estimate_kappa as estimate_kappa
from jaxdist.testing._estimates import Estimate as Estimate
from jaxdist.testing._estimates import estimate_bias as estimate_bias
from jaxdist.testing._estimates import estimate_contraction as estimate_contraction
from jaxdist.testing._estimates import estimate_variance as estimate_variance
from jaxdist.testing._stationary_covariance import (
    stationary_covariance as stationary_covariance,
)

if TYPE_CHECKING:
    from jaxdist.testing._strategies import gradient_trees as gradient_trees
    from jaxdist.testing._strategies import leaves as leaves

__all__ = [
    "PROPERTIES",
    "RULE_PROPERTIES",
    "CompressorCase",
    "CompressorReport",
    "Estimate",
    "KappaEstimate",
    "PropertyReport",
    "RuleReport",
    "check_compressor",
    "check_rule",
    "compressor_cases",
    "estimate_bias",
    "estimate_contraction",
    "estimate_kappa",
    "estimate_variance",
    "gradient_trees",
    "leaves",
    "stationary_covariance",
]


def __getattr__(name: str) -> Any:
    """Import the strategies when they are asked for: they need hypothesis."""
    if name in ("gradient_trees", "leaves"):
        from jaxdist.testing import _strategies

        return getattr(_strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the kit."""
    return sorted(__all__)
