"""Inject attack: some workers send something else than their updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _traffic, _tree
from jaxdist.attacks import _attack


class InjectAttackState(NamedTuple):
    """State of :func:`inject_attack`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: _random.Stream  # equal on all workers
    attack_state: Any  # what the attackers remember, or (); equal on all workers


def inject_attack(
    axis_name: _collectives.AxisName,
    attack: _attack.Attack,
    num_byzantine: int,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    """Let the last ``num_byzantine`` workers send what the attack makes of theirs.

    Put it right before :func:`aggregate`. Attackers that collude see the updates of all
    workers, so a mesh that simulates them must send these to every worker.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      attack: Such as :func:`jaxdist.attacks.sign_flip`.
      num_byzantine: Workers that attack, those with the highest indices, in [0, W];
        attacks that need honest workers to learn from leave some of them. 0 changes
        nothing.
      key: Seed or key of attacks that draw. Workers that collude share it; all others
        draw each for themselves.

    Returns:
      A transformation that keeps structure, shapes and dtypes.

    Raises:
      TypeError: If ``attack`` is none; when applied, if workers should collude about
        updates that are not real floating-point numbers.
      ValueError: If ``num_byzantine`` is negative; when applied, if it exceeds the
        number of workers or what the attack allows.

    Communication:
      None for attacks of workers that only know their own updates. Attacks that
      collude all-gather the updates as one message: (W-1) · b bytes for updates of b
      bytes, and W gradients of memory.

    Example:
      >>> tx = jaxdist.inject_attack(
      ...     "data", jaxdist.attacks.sign_flip(), num_byzantine=1
      ... )
      >>> def attacked(updates):
      ...     return tx.update(updates, tx.init(updates))[0]
      >>> print(jax.vmap(attacked, axis_name="data")(jnp.array([1.0, 2.0, 3.0])))
      [ 1.  2. -3.]
    """
    _checks.axis_name(axis_name)
    _checks.instance("attack", attack, _attack.Attack, "jaxdist.attacks.sign_flip()")
    num_byzantine = _checks.integer("num_byzantine", num_byzantine, 0)
    origin = f"inject_attack by {num_byzantine} over {axis_name}"
    stream = _random.stream_of(key, origin)

    def init(params):
        return InjectAttackState(jnp.zeros((), jnp.int32), stream, attack.init(params))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, InjectAttackState, "inject_attack")
        _tree.check_arrays("updates", updates)
        attack.check_numbers(_collectives.axis_size(axis_name), num_byzantine)
        step = _random.step_key(state.key, state.count)
        memory = state.attack_state
        if num_byzantine and jax.tree.leaves(updates):
            with _traffic.sender(init, f"inject_attack({axis_name!r})"):
                updates, memory = inject(updates, memory, step)
        count = _tree.next_count(state.count)
        return updates, InjectAttackState(count, state.key, memory)

    def inject(updates, memory, step):
        index = _collectives.axis_index(axis_name)
        num_honest = _collectives.axis_size(axis_name) - num_byzantine
        if attack.corrupt is not None:
            corrupted = attack.corrupt(updates, _random.own_key(step, index))
        else:
            leaves, treedef = jax.tree.flatten(updates)
            with _traffic.contents(_seen_contents(updates, attack)):
                single = [leaf[None] for leaf in leaves]
                seen = _collectives.gather_arrays(single, axis_name)
            rows, memory = attack.conspire(seen, num_honest, memory, step)
            row = _row_of(rows, index - num_honest)
            corrupted = treedef.unflatten(_attack.from_row(row, leaves))

        def choose(bad, good):
            return jnp.where(index >= num_honest, bad, good)

        corrupted = _attack.like_updates(corrupted, updates)
        return jax.tree.map(choose, corrupted, updates), memory

    return optax.GradientTransformationExtraArgs(init, update)


def _row_of(rows, attacker):
    """Return what this attacker sends; honest workers get some row as well."""
    if rows.ndim == 1:
        return rows
    return rows[jnp.clip(attacker, 0, rows.shape[0] - 1)]


def _seen_contents(updates: Any, attack: _attack.Attack) -> list[_traffic.Content]:
    """Return what travels so that the attackers see it; no optimizer would send it."""
    return [
        _traffic.Content(name, _tree.leaf_nbytes(leaf), leaf.shape, attack.name)
        for name, leaf in _tree.named_leaves(updates)
    ]
