"""Replicas equal: whether all workers hold the same bits, inside a program."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives
from jaxdist.safety import _replica_fingerprint


def replicas_equal(axis_name: _collectives.AxisName, tree: Any) -> jax.Array:
    """Return whether the tree has the same bits on all workers.

    For a step of your own, under any mapped axis: return it with the metrics, every
    step or in a ``lax.cond`` every n steps. A compiled program cannot raise; outside of
    it, :func:`assert_replicas_equal` does.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      tree: What should be the same: parameters, the state of the optimizer after
        :func:`aggregate`.

    Returns:
      A bool of shape (), equal on all workers. Fingerprints of 64 bits are compared.

    Raises:
      ValueError: If ``axis_name`` is no name.

    Communication:
      An all-gather of 8 bytes, of which each worker sends 8(W-1).

    Example:
      >>> check = jax.vmap(
      ...     lambda x: jaxdist.replicas_equal("data", x), axis_name="data"
      ... )
      >>> print(check(jnp.array([1.0, 1.0])), check(jnp.array([1.0, 1.5])))
      [ True  True] [False False]
    """
    _checks.axis_name(axis_name)
    mine = _replica_fingerprint.replica_fingerprint(tree)
    everybodys = _collectives.all_gather(mine, axis_name)
    return jnp.all(everybodys == everybodys[:1])
