"""Who comes too late is absent; a step for which all come too late is skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
AGGREGATE = jd.aggregate(harness.AXIS, jd.rules.mean(), SIGN)
CHAIN = optax.chain(AGGREGATE, optax.trace(0.9))
TX = jd.skip_stale(harness.AXIS, CHAIN, 3)
UPDATES = jax.random.normal(jax.random.key(0), (4, 8, 6))
PARAMS = jnp.zeros((8, 6))
LATE = jnp.asarray(np.random.default_rng(0).integers(0, 6, (4, 8)), jnp.int32)


def weights_of(late):
    return (late < 3).astype(jnp.float32)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_who_is_late_is_absent(backend):
    out, state = harness.run_steps(TX, backend, PARAMS, UPDATES, {"staleness": LATE})
    expected, inner = harness.run_steps(
        CHAIN, backend, PARAMS, UPDATES, {"weight": weights_of(LATE)}
    )
    harness.assert_trees_close(out, expected)
    harness.assert_trees_close(state.inner_state, inner)
    np.testing.assert_array_equal(state.skipped, 0)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_a_step_in_which_all_are_late_is_as_if_it_had_never_been(backend):
    late = LATE.at[1].set(3)
    out, state = harness.run_steps(TX, backend, PARAMS, UPDATES, {"staleness": late})
    rest = np.array([0, 2, 3])
    expected, untouched = harness.run_steps(
        TX, backend, PARAMS, UPDATES[rest], {"staleness": late[rest]}
    )
    np.testing.assert_array_equal(out[:, 1], 0)
    harness.assert_trees_close(out[:, rest], expected)
    harness.assert_trees_close(state.inner_state, untouched.inner_state)
    np.testing.assert_array_equal(state.skipped, 1)


def test_weights_count_for_who_is_not_late():
    weight = jnp.asarray(np.random.default_rng(1).integers(1, 4, (4, 8)), jnp.float32)
    given = {"staleness": LATE, "weight": weight}
    out, _ = harness.run_steps(TX, "shard_map", PARAMS, UPDATES, given)
    expected, _ = harness.run_steps(
        CHAIN, "shard_map", PARAMS, UPDATES, {"weight": weight * weights_of(LATE)}
    )
    harness.assert_trees_close(out, expected)


@pytest.mark.parametrize("is_mapping", [False, True])
def test_levels_of_a_network(is_mapping):
    """The totals of pods are those of the workers who are not late."""
    tx = jd.skip_stale(
        ("pod", "device"),
        optax.chain(jd.aggregate("device"), jd.aggregate("pod")),
        limit=2,
    )

    def worker(gradient, late):
        given = {"weight": {"device": 1.0, "pod": 2.0}} if is_mapping else {}
        return tx.update(gradient, tx.init(gradient), staleness=late, **given)[0]

    mapped = jax.jit(jax.vmap(jax.vmap(worker, axis_name="device"), axis_name="pod"))
    out = mapped(jnp.array([[1.0, 5.0], [7.0, 9.0]]), jnp.array([[0, 0], [1, 2]]))
    np.testing.assert_allclose(out, np.full((2, 2), (1 + 5 + 7) / 3), rtol=1e-6)


def test_one_level_of_a_mapping():
    tx = jd.skip_stale("w", jd.aggregate("w"), 1)

    def worker(gradient, late):
        weight = {"w": 1.0, "other": 3.0}
        out = tx.update(gradient, tx.init(gradient), staleness=late, weight=weight)
        return out[0]

    out = jax.jit(jax.vmap(worker, axis_name="w"))(
        jnp.arange(3.0), jnp.array([0, 1, 0])
    )
    np.testing.assert_allclose(out, [1.0] * 3)


def test_missing_staleness():
    with pytest.raises(ValueError, match="skip_stale needs `staleness`"):
        harness.run(lambda g: TX.update(g, TX.init(g))[0], "vmap", PARAMS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, CHAIN, 1), ValueError, "`axis_name` must be"),
        (("w", CHAIN, 0), ValueError, "`limit` must be an integer >= 1, got 0"),
        (("w", 3, 1), TypeError, "`inner` must be of type GradientTransformation"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        jd.skip_stale(*arguments)
