"""Inject attack: some workers send something else than their updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _traffic, _tree
from jaxdist.attacks import _attack
from jaxdist.workers import _arrival


class InjectAttackState(NamedTuple):
    """State of :func:`inject_attack`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: _random.Stream | tuple[()]  # equal on all workers; () where nothing is drawn
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

    In simulated time K of W workers meet, in the order of their indices, and each of
    them attacks that is one of the last ``num_byzantine`` of all W. How many of the K
    these are is known only when the program runs. Attackers that collude therefore take
    the first K - f places for honest workers, which they are, and the last min(f, K)
    for their own, though honest workers may stand there; only attackers send what is
    crafted. Where one worker comes twice, or nobody comes to the last places, some of
    the first may be attackers' too.

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
        number of workers or what the attack allows, or if too few workers meet for
        attackers that collude.

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
    stream = _random.stream_if(attack.draws, key, origin)

    def init(params):
        return InjectAttackState(jnp.zeros((), jnp.int32), stream, attack.init(params))

    def update(updates, state, params=None, *, arrival=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, InjectAttackState, "inject_attack")
        _tree.check_arrays("updates", updates)
        who = _arrival.identity_of(arrival, axis_name)
        _check_numbers(attack, who.num_workers, num_byzantine, axis_name)
        step = _random.step_key(state.key, state.count)
        memory = state.attack_state
        if num_byzantine and jax.tree.leaves(updates):
            with _traffic.sender(init, f"inject_attack({axis_name!r})"):
                updates, memory = inject(updates, memory, step, who)
        count = _tree.next_count(state.count)
        return updates, InjectAttackState(count, state.key, memory)

    def inject(updates, memory, step, who):
        if attack.corrupt is not None:
            corrupted = attack.corrupt(updates, _random.keys_of(step, who.index).own)
        else:
            corrupted, memory = conspire(updates, memory, step)
        # In simulated time W is the index of a place without anybody.
        attacks = who.index >= who.num_workers - num_byzantine
        attacks &= who.index < who.num_workers
        corrupted = _attack.like_updates(corrupted, updates)
        return jax.tree.map(
            lambda bad, good: jnp.where(attacks, bad, good), corrupted, updates
        ), memory

    def conspire(updates, memory, step):
        place = _collectives.axis_index(axis_name)
        num_honest = max(0, _collectives.axis_size(axis_name) - num_byzantine)
        leaves, treedef = jax.tree.flatten(updates)
        with _traffic.contents(_seen_contents(updates, attack)):
            single = [leaf[None] for leaf in leaves]
            seen = _collectives.gather_arrays(single, axis_name)
        rows, memory = attack.conspire(seen, num_honest, memory, step)
        row = _row_of(rows, place - num_honest)
        return treedef.unflatten(_attack.from_row(row, leaves)), memory

    return optax.GradientTransformationExtraArgs(init, update)


def _check_numbers(
    attack: _attack.Attack,
    num_workers: int,
    num_byzantine: int,
    axis_name: _collectives.AxisName,
) -> None:
    """Raise when so many of all workers, or of those who meet, cannot attack."""
    num_places = _collectives.axis_size(axis_name)
    if attack.corrupt is not None or num_places == num_workers:
        attack.check_numbers(num_workers, num_byzantine)
        return
    _checks.byzantine_count(attack.name, num_byzantine, num_workers, num_workers)
    try:
        attack.check_numbers(num_places, min(num_byzantine, num_places))
    except ValueError as error:
        raise ValueError(
            f"Only {num_places} of {num_workers} workers meet in one update, and all "
            f"{num_byzantine} attackers may be among them, so that too few are honest "
            f"for sure: {error} Let more workers meet, or take an attack without "
            "collusion, such as sign_flip."
        ) from None


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
