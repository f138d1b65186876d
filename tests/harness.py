"""Run anything on the four backends and compare.

Every argument and every result has a leading worker axis, so that one assertion
compares all backends.
"""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd

BACKENDS = ("vmap", "pmap", "shard_map", "shard_map_no_vma")
AXIS = "data"
NUM_WORKERS = 8


def make_mesh(axis_type=AxisType.Auto):
    return jax.make_mesh((NUM_WORKERS,), (AXIS,), axis_types=(axis_type,))


def mapped(fn, backend):
    """Map ``fn`` over workers; arguments and results are ``[W, ...]``."""
    if backend == "vmap":
        return jax.vmap(fn, axis_name=AXIS)
    if backend == "pmap":
        return jax.pmap(fn, axis_name=AXIS)

    def on_slices(*args):
        out = fn(*jax.tree.map(lambda leaf: leaf[0], args))
        return jax.tree.map(lambda leaf: leaf[None], out)

    return jax.shard_map(
        on_slices,
        mesh=make_mesh(),
        in_specs=PartitionSpec(AXIS),
        out_specs=PartitionSpec(AXIS),
        check_vma=backend == "shard_map",
    )


def run(fn, backend, *args):
    """Run ``fn`` on a backend; arguments and results are ``[W, ...]``."""
    return compiled(fn, backend)(*args)


@functools.lru_cache(maxsize=32)
def compiled(fn, backend):
    """Return the compiled program of :func:`run`, the same in every call."""
    program = mapped(fn, backend)
    return program if backend == "pmap" else jax.jit(program)


@functools.lru_cache(maxsize=32)
def steps_program(tx, backend):
    """Return the compiled program of :func:`run_steps`, the same for all tests.

    It maps parameters ``[W, ...]`` and a pair of updates and extra arguments
    ``[W, steps, ...]``.
    """

    def worker(params, sequence):
        def step(state, item):
            gradients, named = item
            out, state = tx.update(gradients, state, params, **named)
            return state, out

        state, out = jax.lax.scan(step, tx.init(params), sequence)
        return out, state

    return compiled(worker, backend)


def steps_inputs(params, updates, extra=None):
    """Return the arguments of :func:`steps_program` from those of :func:`run_steps`."""
    return params, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (updates, extra or {}))


def run_steps(tx, backend, params, updates, extra=None):
    """Scan ``tx`` over updates; the state must keep its types for that.

    Args:
      tx: The transformation.
      backend: One of BACKENDS.
      params: Parameters ``[W, ...]``.
      updates: Updates ``[steps, W, ...]``.
      extra: Extra arguments of ``tx.update`` ``[steps, W, ...]``.

    Returns:
      All updates ``[W, steps, ...]``, and the final state ``[W, ...]``.
    """
    return steps_program(tx, backend)(*steps_inputs(params, updates, extra))


def device_program(program, *args):
    """Return the text of what each device runs; JAX makes a shard_map of a pmap."""
    jaxpr = jax.make_jaxpr(program)(*args).jaxpr
    while (equation := jaxpr.eqns[-1]).primitive.name != "shard_map":
        jaxpr = equation.params["jaxpr"].jaxpr
    return str(equation)


def assert_trees_close(actual, expected, rtol=1e-5, atol=1e-6):
    """Compare structures, shapes, dtypes and numbers; bfloat16 to two digits.

    Chex compares no typed keys, and all leaves with one tolerance.
    """
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    actual, expected = jax.tree.map(plain, (actual, expected))

    def narrow(tree):
        return jax.tree.map(lambda x: x if x.dtype == jnp.bfloat16 else None, tree)

    def wide(tree):
        return jax.tree.map(lambda x: None if x.dtype == jnp.bfloat16 else x, tree)

    chex.assert_trees_all_close(wide(actual), wide(expected), rtol=rtol, atol=atol)
    chex.assert_trees_all_close(narrow(actual), narrow(expected), rtol=1e-2, atol=1e-2)


def assert_trees_equal(actual, expected):
    """Compare bit by bit, typed keys too."""
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    chex.assert_trees_all_equal(*jax.tree.map(plain, (actual, expected)))


def plain(leaf):
    """Return the numbers behind a leaf that may be a typed key."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


@functools.partial(jax.jit, static_argnums=0, static_argnames="blocks")
def roundtrip(compressor, leaf, key=None, state=None, *, blocks=1):
    """Compile :func:`jaxdist.roundtrip`: one by one its operations take 5 times longer.

    The kit tries that both are the same.
    """
    return jd.roundtrip(compressor, leaf, key, state, blocks=blocks)


ITEMSIZE = {
    **dict.fromkeys(["pred", "s8", "u8", "f8e4m3fn", "f8e5m2"], 1),
    **dict.fromkeys(["s16", "u16", "f16", "bf16"], 2),
    **dict.fromkeys(["s32", "u32", "f32"], 4),
    **dict.fromkeys(["s64", "u64", "f64"], 8),
}


def collectives(compiled_text):
    """Return ``(name, result bytes)`` of every collective in an HLO text.

    Of a permutation these are the bytes of all workers that send.
    """
    found = []
    names = "all-reduce|all-gather|all-to-all|collective-permute"
    pattern = rf"= (.*?) ({names})(?:-start)?\("
    for line in compiled_text.splitlines():
        match = re.search(pattern, line)
        if match:
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
            nbytes = sum(
                ITEMSIZE[dtype] * int(np.prod([int(n) for n in dims.split(",") if n]))
                for dtype, dims in shapes
            )
            if pairs := re.search(r"source_target_pairs=\{(\{.*?\})\}", line):
                nbytes *= pairs[1].count("{")
            found.append((match[2], nbytes))
    return found


def leaving(compiled_text, num_inside):
    """Return the lines whose messages leave a pod of so many devices."""
    lines = []
    for line in compiled_text.splitlines():
        groups = replica_groups(line)
        if any(len({member // num_inside for member in group}) > 1 for group in groups):
            lines.append(line)
    return "\n".join(lines)


def replica_groups(line):
    """Return which devices a collective joins, however its line says so."""
    if listed := re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", line):
        return [
            [int(n) for n in group.split(",")]
            for group in re.findall(r"\{([\d,]+)\}", listed[1])
        ]
    counted = re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line
    )
    if not counted:
        return []
    shape, dims, order = (
        [int(n) for n in part.split(",")] if part else None for part in counted.groups()
    )
    members = np.arange(np.prod(dims)).reshape(dims)
    return members.transpose(order).reshape(shape).tolist()


def bytes_sent(compiled_text, num_workers=NUM_WORKERS):
    """Return what each worker sends, from the collectives of an HLO text."""
    rate = (num_workers - 1) / num_workers
    factor = {"all-reduce": 2 * rate, "all-gather": rate, "all-to-all": rate}
    factor["collective-permute"] = 1 / num_workers
    return sum(factor[name] * nbytes for name, nbytes in collectives(compiled_text))


def gradients(steps=3, num_workers=NUM_WORKERS, seed=0):
    """Return gradients ``[steps, W, ...]`` of every awkward shape."""
    rng = np.random.default_rng(seed)

    def draw(shape, dtype=jnp.float32):
        return jnp.asarray(rng.standard_normal((steps, num_workers, *shape)), dtype)

    return {
        "conv": draw((3, 3, 2, 5)),
        "empty": draw((0, 3)),
        "half": draw((11,), jnp.bfloat16),
        "prime": draw((13, 7)),
        "scalar": draw(()),
    }


def params_like(updates):
    """Return parameters for updates ``[steps, W, ...]``."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0, 0]), updates)


def train_on_mesh_and_simulated(loss, tx, batch, steps=4):
    """Return the states of both recipes after some steps, with own parameters."""
    options = {"per_worker_params": True}
    recipes = (
        jd.data_parallel(loss, tx, make_mesh(), AXIS, **options),
        jd.simulate(loss, tx, NUM_WORKERS, AXIS, **options),
    )
    states = []
    for init, step in recipes:
        state = init(jnp.zeros(()))
        for _ in range(steps):
            state, _ = step(state, batch)
        states.append(state)
    return states


def train_in_common(tx, params, gradients, **extra):
    """Return what all workers make of gradients, having the same parameters.

    Args:
      tx: A whole optimizer, whose updates are equal on all workers.
      params: Where they start.
      gradients: ``[steps, W, ...]``.
      **extra: Of ``tx.update``, ``[steps, W]``.

    Returns:
      The updates ``[steps, ...]``, and the last state ``[W, ...]``.
    """

    def worker(gradients, extra):
        def step(carry, item):
            params, state = carry
            gradient, named = item
            updates, state = tx.update(gradient, state, params, **named)
            return (jax.tree.map(jnp.add, params, updates), state), updates

        start = (params, tx.init(params))
        (_, state), steps = jax.lax.scan(step, start, (gradients, extra))
        return steps, state

    program = jax.jit(jax.vmap(worker, (1, 1), axis_name=AXIS))
    steps, state = program(*jax.tree.map(jnp.asarray, (gradients, extra)))
    for leaf in jax.tree.leaves(steps):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), steps), state
