"""Non-finite: send NaN or infinity."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack

_VALUES = {"nan": jnp.nan, "inf": jnp.inf, "-inf": -jnp.inf}


def non_finite(kind: Literal["nan", "inf", "-inf", "mixed"] = "nan") -> _attack.Attack:
    r"""Send values that are not finite.

    .. math:: g_i \mapsto (v, \dots, v), \qquad v \in \{\text{NaN}, \infty, -\infty\}

    A single such value makes the plain mean NaN or infinite, and all later parameters.

    Args:
      kind: ``"nan"``, ``"inf"``, ``"-inf"``, or ``"mixed"``, which draws one of the
        three for each element.

    Returns:
      An attack that keeps structure, shapes and dtypes, of workers that know nothing.
      With ``"mixed"`` workers and leaves draw independently, again at every step.

    Raises:
      ValueError: If ``kind`` is unknown.

    Communication:
      None.

    Example:
      >>> sent = jaxdist.attacks.non_finite("inf")(jnp.ones(3), num_byzantine=1)
      >>> print(sent, jaxdist.rules.median()(sent))
      [ 1.  1. inf] 1.0
    """
    _checks.one_of("kind", kind, (*_VALUES, "mixed"))

    def draw(leaf, key):
        values = jnp.array(list(_VALUES.values()), leaf.dtype)
        drawn = jax.random.bits(key, leaf.shape, jnp.uint8) % len(_VALUES)
        return values[drawn.astype(jnp.int32)]

    def corrupt(updates, key):
        if kind != "mixed":
            return jax.tree.map(lambda x: jnp.full_like(x, _VALUES[kind]), updates)
        leaves, treedef = jax.tree.flatten(updates)
        keys = jax.random.split(key, max(1, len(leaves)))
        return treedef.unflatten(map(draw, leaves, keys))

    draws = kind == "mixed"
    return _attack.Attack(corrupt, f"non_finite({kind!r})", draws=draws)
