"""Simulated time by hand: only the workers that arrive take a step."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.workers import _arrival, _worker_state

AXIS = "worker"


def start(tx, params):
    """Return the state of W workers; what is each worker's own is ``[W, ...]``."""

    def worker(own):
        state = tx.init(own)
        return _worker_state.map_slices(lambda leaf: leaf[0], state)

    shape = jax.eval_shape(jax.vmap(worker, axis_name=AXIS), params)
    axes = _worker_state.fill_marked(shape, 0, None)
    return jax.jit(jax.vmap(worker, out_axes=axes, axis_name=AXIS))(params)


def arrive(tx, params, state, workers, counts, updates, losses):
    """Return the parameters ``[W, ...]`` and the state after K workers arrived.

    What the workers must know alike is mapped to one value: `vmap` raises when it is
    not.
    """
    workers = jnp.asarray(workers, jnp.int32)
    num_workers = jax.tree.leaves(params)[0].shape[0]

    def worker(index, count, own, state, updates, loss):
        state = _worker_state.map_slices(lambda leaf: leaf[None], state)
        arrival = _arrival.Arrival(index, count, num_workers, params)
        updates, state = tx.update(updates, state, own, value=loss, arrival=arrival)
        state = _worker_state.map_slices(lambda leaf: leaf[0], state)
        return jax.tree.map(jnp.add, own, updates), state

    axes = _worker_state.fill_marked(state, 0, None)
    own = jax.tree.map(lambda leaf: leaf[workers], params)
    mine = _worker_state.map_slices(lambda leaf: leaf[workers], state)
    stepped, after = jax.jit(
        jax.vmap(worker, (0, 0, 0, axes, 0, 0), (0, axes), axis_name=AXIS)
    )(
        workers,
        jnp.asarray(counts, jnp.int32),
        own,
        mine,
        updates,
        jnp.asarray(losses, jnp.float32),
    )

    def put(leaf, new):
        return leaf.at[workers].set(new)

    is_own = _worker_state.fill_marked(state, True, False)
    whole = jax.tree.map(
        lambda own, old, new: put(old, new) if own else new, is_own, state, after
    )
    return jax.tree.map(put, params, stepped), whole


def rounds(seed, num_workers, num_meet, steps):
    """Return who arrives when: workers and their counts, step by step."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(num_workers, int)
    for _ in range(steps):
        workers = np.sort(rng.choice(num_workers, num_meet, replace=False))
        counts[workers] += 1
        yield workers, counts[workers].copy()
