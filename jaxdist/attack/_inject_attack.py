"""Inject attack: some workers send something else than their updates."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _tree, _types


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Attack:
    """What one Byzantine worker sends instead of its updates.

    Call it on stacked updates without any mesh: ``attack(stacked, num_byzantine,
    key)`` replaces the rows of the last ``num_byzantine`` workers.

    Attributes:
      corrupt: ``(updates, key) -> updates`` of one worker, with its own key.
      name: How errors and tables call it.
    """

    corrupt: Callable[[Any, jax.Array], Any]
    name: str = "custom attack"

    def __repr__(self):
        return self.name

    def __call__(
        self, stacked: Any, num_byzantine: int, key: jax.Array | None = None
    ) -> Any:
        """Corrupt the last ``num_byzantine`` of the workers stacked ``[W, ...]``."""
        leaves = jax.tree.leaves(stacked)
        num_workers = leaves[0].shape[0] if leaves else 0
        _check_count(num_byzantine, num_workers)
        key = jax.random.key(0) if key is None else key

        def worker(updates, index):
            return _choose(self, updates, index, num_workers, num_byzantine, key)

        return jax.vmap(worker)(stacked, jnp.arange(num_workers))


class InjectAttackState(NamedTuple):
    """State of :func:`inject_attack`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: jax.Array  # typed key, shape (); equal on all workers


def inject_attack(
    axis_name: _types.AxisName,
    attack: Attack,
    num_byzantine: int,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Let the last ``num_byzantine`` workers send what the attack makes of theirs.

    Put it right before :func:`aggregate`.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      attack: Such as :func:`sign_flip`.
      num_byzantine: Workers that attack, those with the highest indices, in [0, W].
      key: Seed or key of attacks that draw; each worker draws for itself.

    Returns:
      A transformation that keeps structure, shapes and dtypes.

    Raises:
      TypeError: If ``attack`` is none.
      ValueError: If ``num_byzantine`` is negative; when applied, if it exceeds the
        number of workers.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.inject_attack("data", jaxdist.sign_flip(), num_byzantine=1)
      >>> def attacked(updates):
      ...     return tx.update(updates, tx.init(updates))[0]
      >>> print(jax.vmap(attacked, axis_name="data")(jnp.array([1.0, 2.0, 3.0])))
      [ 1.  2. -3.]
    """
    _checks.axis_name(axis_name)
    _checks.instance("attack", attack, Attack, "jaxdist.sign_flip()")
    num_byzantine = _checks.integer("num_byzantine", num_byzantine, 0)
    key = _random.as_key(key)

    def init(params):
        del params
        return InjectAttackState(jnp.zeros((), jnp.int32), key)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        num_workers = _collectives.size(axis_name)
        _check_count(num_byzantine, num_workers)
        step = _random.step_key(state.key, state.count)
        index = _collectives.index(axis_name)
        sent = _choose(attack, updates, index, num_workers, num_byzantine, step)
        count = _tree.next_count(state.count)
        return sent, InjectAttackState(count, state.key)

    return optax.GradientTransformationExtraArgs(init, update)


def _choose(attack, updates, index, num_workers, num_byzantine, key):
    """Return what the worker sends: its updates, or what the attack makes of them."""
    corrupted = attack.corrupt(updates, _random.own_key(key, index))
    is_byzantine = index >= num_workers - num_byzantine
    return jax.tree.map(
        lambda bad, good: jnp.where(is_byzantine, bad, good), corrupted, updates
    )


def _check_count(num_byzantine, num_workers):
    """Raise when more workers should attack than there are."""
    if num_byzantine > num_workers:
        raise ValueError(
            f"`num_byzantine` must lie in [0, {num_workers}] for {num_workers} "
            f"workers, got {num_byzantine}."
        )
