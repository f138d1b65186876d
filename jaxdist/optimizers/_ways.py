"""Ways: how what workers send travels where the user does not say it."""

from typing import Any

import optax

from jaxdist import _collectives, _random
from jaxdist.aggregation import _aggregate
from jaxdist.compression import (
    _blockwise_int,
    _by_leaf,
    _compressor,
    _error_feedback,
    _per_leaf,
    _scaled_sign,
)
from jaxdist.rules import _rule


def signs() -> _compressor.LeafPolicy:
    """Return one bit for each element, with feedback; small leaves as they are."""
    return _by_leaf.by_leaf(_error_feedback.error_feedback(_scaled_sign.scaled_sign()))


def int8() -> _compressor.LeafPolicy:
    """Return a byte for each element; small leaves as they are."""
    return _by_leaf.by_leaf(_blockwise_int.blockwise_int(8))


def check_compressors(**named: _compressor.AnyCompressor | None) -> None:
    """Raise unless each value is a compressor, a policy or None."""
    for name, value in named.items():
        if value is not None:
            _per_leaf.check_compressor(name, value, policies=True, steps=True)


def bind_way(
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule | None,
    compressor: _compressor.AnyCompressor | None,
    downlink: _compressor.AnyCompressor | None,
    key: Any,
    default: _compressor.AnyCompressor | None = None,
    weighted: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Return an aggregation; without a compressor with the default, both ways.

    Args:
      axis_name: Of the workers.
      rule: How W contributions become one, or None.
      compressor: Of the workers, or None.
      downlink: Of the way back, or None.
      key: Seed or key.
      default: What is taken both ways where no compressor is given.
      weighted: Whether receivers remember each worker, so that weights may change.
    """
    _random.check_key(key)
    if compressor is None:
        compressor, downlink = default, default if downlink is None else downlink
    return _aggregate.aggregate(
        *(axis_name, rule, compressor),
        downlink=downlink,
        key=key,
        weighted=weighted,
    )
