"""By leaf: which leaves are compressed how.

A compressor alone compresses every leaf. To leave 1-D leaves dense is good advice for
networks, but in a study of a single vector compression would silently do nothing. So
users must write the policy: ``by_leaf(c)``.
"""

import fnmatch
import math
from collections.abc import Mapping

from jaxdist import _checks
from jaxdist.compression import _compressor, _per_leaf


def by_leaf(
    compressor: _compressor.Compressor,
    patterns: Mapping[str, _compressor.Compressor] | None = None,
    *,
    min_ndim: int = 2,
    min_size: int = 1024,
    joint: bool = False,
) -> _compressor.LeafPolicy:
    """Choose a compressor for each leaf by its path, rank and size.

    Biases and norm scales are few and matter much: by default they travel as they are.

    Args:
      compressor: For every leaf for which no other argument decides.
      patterns: Maps shell patterns (``*``, ``?``, ``[...]``) over paths such as
        ``"params/Conv_0/kernel"`` to compressors; the first that matches decides,
        whatever the rank and size. ``*`` matches ``/`` too. A pattern must match a
        leaf, if only one that another transformation handles.
      min_ndim: Leaves with fewer axes travel as they are.
      min_size: Leaves with fewer elements travel as they are.
      joint: Compress all leaves that get ``compressor`` as one vector, in the order
        of the tree: top-k then finds the largest elements of the whole gradient, for
        the price of a copy of it. Their state is of that vector.

    Returns:
      A policy, accepted wherever a transformation takes a compressor. Wrappers go
      inside: ``by_leaf(error_feedback(top_k(0.01)))``.

    Raises:
      ValueError: If ``min_ndim`` or ``min_size`` is negative; when a state is made, if
        a pattern matches no leaf.
      TypeError: If a compressor is none.

    Communication:
      That of the chosen compressors.

    Example:
      >>> policy = jaxdist.compression.by_leaf(
      ...     jaxdist.compression.scaled_sign(),
      ...     {"embed/*": jaxdist.compression.top_k(0.01)},
      ... )
      >>> tx = jaxdist.compress(policy)
      >>> updates = {"embed": {"table": jnp.ones((64, 64))}, "bias": jnp.arange(3.0)}
      >>> seen, _ = tx.update(updates, tx.init(updates))
      >>> print(seen["bias"])
      [0. 1. 2.]
    """
    _per_leaf.check_compressor("compressor", compressor)
    if not isinstance(patterns, Mapping | None):
        raise TypeError(
            "`patterns` must map shell patterns to compressors, such as {'embed/*': "
            f"top_k(0.01)}}, got {patterns!r}."
        )
    patterns = dict(patterns or {})
    _checks.flag("joint", joint)
    for pattern, chosen in patterns.items():
        _checks.instance("patterns", pattern, str, "'embed/*'")
        _per_leaf.check_compressor(f"patterns[{pattern!r}]", chosen)
    min_ndim = _checks.integer("min_ndim", min_ndim, 0)
    min_size = _checks.integer("min_size", min_size, 0)

    def select(path, leaf):
        for pattern, chosen in patterns.items():
            if fnmatch.fnmatchcase(path, pattern):
                return chosen
        if len(leaf.shape) < min_ndim or math.prod(leaf.shape) < min_size:
            return _per_leaf.DENSE
        return compressor

    draws = any(map(_compressor.may_draw, (compressor, *patterns.values())))
    if not joint:
        return _compressor.LeafPolicy(
            select,
            f"by_leaf({compressor.name})",
            patterns=tuple(patterns),
            stochastic=draws,
        )
    # A copy, so that what a pattern chooses is never taken for one that joins.
    compressor = compressor._replace()
    return _compressor.LeafPolicy(
        select,
        f"by_leaf({compressor.name}, joint=True)",
        compressor,
        tuple(patterns),
        draws,
    )
