"""Workers: over which axis they are mapped, and how much each of them counts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _tree
from jaxdist.rules import _rule
from jaxdist.workers import _weight


class Workers(NamedTuple):
    """Those who take part in a step."""

    axis_name: _collectives.AxisName
    weight: jax.Array | None = None  # float32 [W], 0 is absent; None: all count alike

    @property
    def number(self) -> int:
        """W, absent workers included."""
        return _collectives.axis_size(self.axis_name)

    @property
    def index(self) -> jax.Array:
        """Of this worker."""
        return _collectives.axis_index(self.axis_name)

    @property
    def is_present(self) -> jax.Array | bool:
        """Whether this worker counts."""
        return True if self.weight is None else self.weight[self.index] > 0

    @property
    def any_present(self) -> jax.Array | bool:
        """Whether any worker counts; equal on all workers."""
        return True if self.weight is None else jnp.any(self.weight > 0)

    @property
    def num_absent(self) -> jax.Array:
        """How many do not count, int32; equal on all workers."""
        if self.weight is None:
            return jnp.zeros((), jnp.int32)
        return jnp.sum(self.weight <= 0, dtype=jnp.int32)

    def share_of(self, worker_index: jax.Array, dtype: Any) -> jax.Array:
        """Return the share of a worker in the mean, where weights are known."""
        wide = _tree.accumulator_dtype(dtype)
        weight = jnp.zeros(()) if self.weight is None else self.weight
        shares = _rule.mean_shares(weight.astype(wide))
        return shares[worker_index].astype(dtype)

    def silence_absent(self, payload: Any) -> Any:
        """Return zeros instead of the payload of a worker that is absent."""
        if self.weight is None:
            return payload
        here = self.is_present
        return jax.tree.map(lambda x: jnp.where(here, x, jnp.zeros_like(x)), payload)


def workers_of(
    axis_name: _collectives.AxisName, weight: _weight.Weight | None, updates: Any
) -> Workers:
    """Return who takes part, with the weights of all where this worker has one."""
    if weight is None:
        return Workers(axis_name)
    _weight.check_levels(weight, updates, axis_name)
    own = _weight.own_weight(weight, axis_name)
    return Workers(axis_name, _weight.gather_weights(own, axis_name))
