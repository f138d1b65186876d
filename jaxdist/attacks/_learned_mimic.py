"""Learned mimic: find the honest worker that does most harm when it is copied."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.attacks import _attack, _moments


class LearnedMimicState(NamedTuple):
    """What the attackers of :func:`learned_mimic` remember."""

    count: jax.Array  # int32, shape (): steps so far; equal on all workers
    mean: jax.Array  # [n], float32 or wider: of all honest updates so far; equal
    direction: jax.Array  # [n], the same dtype: unit length; equal on all workers
    worker_index: jax.Array  # int32, shape (): that is copied; equal on all workers


def learned_mimic(warm_up: int = 100) -> _attack.Attack:
    r"""Learn in which direction honest workers differ most, then copy the outermost.

    .. math:: z_{t+1} \propto \frac{t}{t+1} z_t + \frac{1}{t+1}
       \frac{\sum_i a_i \langle a_i, z_t \rangle}{\|\sum_i a_i \langle a_i, z_t
       \rangle\|}, \quad a_i = g_i - \mu_t, \qquad j = \arg\max_i \langle g_i, z \rangle

    During the warm-up the attackers take a power step per optimizer step on the
    covariance of the honest updates, around their running mean :math:`\mu_t`, and copy
    the worker :math:`j` of that moment; from then on they copy the last one for good.

    Args:
      warm_up: Optimizer steps in which they learn, at least 1.

    Returns:
      An attack of workers that collude; all send the same. It draws the start of
      :math:`z` in the first step. What it has learned is in its state
      (:class:`LearnedMimicState`), which is equal on all workers; called on stacked
      updates it does its first step, and ``attack.step`` carries the state on.

    Raises:
      ValueError: If ``warm_up`` is below 1; when applied, if no worker is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([[0.1, 0.0], [0.0, 0.1], [9.0, 0.0], [0.0, 0.0], [0.1, 0.1]])
      >>> attack = jaxdist.attacks.learned_mimic()
      >>> state = attack.init(rows[0])
      >>> for seed in range(3):
      ...     sent, state = attack.step(rows, state, 1, jax.random.key(seed))
      >>> print(jnp.abs(state.direction).round(1))
      [1. 0.]

    References:
      Karimireddy et al., `Byzantine-Robust Learning on Heterogeneous Datasets via
      Bucketing <https://arxiv.org/abs/2006.09365>`_, 2022, Appendix B.
    """
    warm_up = _checks.integer("warm_up", warm_up, 1)
    name = f"learned_mimic({warm_up})"

    def check(num_workers, num_byzantine):
        _checks.byzantine_count(name, num_byzantine, num_workers, num_workers - 1)

    def collude(seen, state, key):
        learned = _learn_direction(seen.honest, state, key)
        learning = state.count < warm_up
        state = jax.tree.map(
            lambda new, old: jnp.where(learning, new, old), learned, state
        )
        state = state._replace(count=_tree.next_count(state.count))
        return jnp.take(seen.honest, state.worker_index, axis=0), state

    return _attack.Attack(
        name=name, collude=collude, init=_init_memory, check=check, draws=True
    )


def _init_memory(updates: Any) -> LearnedMimicState:
    """Return the state before the first step."""
    leaves = jax.tree.leaves(updates)
    zeros = jnp.zeros(sum(leaf.size for leaf in leaves), _attack.row_dtype(leaves))
    count = jnp.zeros((), jnp.int32)
    return LearnedMimicState(count, zeros, zeros.copy(), count.copy())


def _learn_direction(honest, state, key):
    """Do a power step, and find the worker that lies farthest in this direction."""
    time = state.count.astype(honest.dtype)
    drawn = jax.random.normal(key, state.direction.shape, honest.dtype)
    before = jnp.where(state.count == 0, drawn, state.direction)
    mean = (time * state.mean + _moments.mean_row(honest)) / (time + 1)
    centred = honest - mean[None]
    step = _unit_vector(_matrix_product(_matrix_product(centred, before), centred))
    direction = _unit_vector((time * state.direction + step) / (time + 1))
    farthest = jnp.argmax(_matrix_product(honest, direction)).astype(jnp.int32)
    return LearnedMimicState(state.count, mean, direction, farthest)


def _matrix_product(left, right):
    """Multiply in full precision on every device."""
    return jnp.matmul(left, right, precision="highest")


def _unit_vector(vector):
    """Scale to unit length; zero stays."""
    norm = jnp.linalg.norm(vector)
    return vector / jnp.where(norm > 0, norm, 1)
