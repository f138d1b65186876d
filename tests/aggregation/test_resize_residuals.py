"""Resizing: the mean of what is owed stays, and training goes on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd

PARAMS = {"a": jnp.zeros((5, 7)), "b": jnp.zeros(())}
feedback = jd.compression.error_feedback


def run(tx, state, num_workers, steps, seed=0):
    """Run on W simulated workers; return the updates and the state."""
    mean = jax.random.normal(jax.random.key(9), (36,))

    def gradients(key):
        noise = jax.random.normal(key, (num_workers, 36))
        noisy = mean[None] + noise - noise.mean(axis=0)[None]
        return {"a": noisy[:, :35].reshape(-1, 5, 7), "b": noisy[:, 35]}

    specs = jd.state_specs(tx, PARAMS, "data")
    axes = jax.tree.map(lambda spec: 0 if spec else None, specs)

    def body(gradients, state):
        one = jax.tree.map(lambda x, a: x if a is None else x[None], state, axes)
        out, state = tx.update(gradients, one, PARAMS)
        return out, jax.tree.map(lambda x, a: x if a is None else x[0], state, axes)

    step = jax.jit(
        jax.vmap(body, in_axes=(0, axes), out_axes=(None, axes), axis_name="data")
    )
    total = PARAMS
    for i in range(steps):
        out, state = step(gradients(jax.random.key(seed + i)), state)
        total = jax.tree.map(jnp.add, total, out)
    return total, state


def make(tx, num_workers):
    mesh = jax.make_mesh((num_workers,), ("data",))
    return jax.device_get(jd.init(tx, PARAMS, mesh, "data"))


def means(state):
    """Return the mean residual of every leaf."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(state.uplink.inner_state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            found[jax.tree_util.keystr(path)] = np.asarray(leaf, np.float64).mean(
                axis=0
            )
    return found


COMPRESSORS = [
    (jd.rules.mean(), feedback(jd.compression.top_k(0.2)), "gather", None),
    (
        jd.rules.mean(),
        feedback(jd.compression.top_k(0.2)),
        "scatter",
        feedback(jd.compression.scaled_sign()),
    ),
    (jd.rules.mean(), jd.compression.ef21(jd.compression.top_k(0.2)), "gather", None),
    (
        jd.rules.median(),
        jd.compression.ef21(jd.compression.top_k(0.2), 0.5),
        "gather",
        None,
    ),
    (
        jd.rules.median(),
        jd.compression.ef21(jd.compression.top_k(0.2)),
        "scatter",
        jd.compression.ef21(jd.compression.top_k(0.5)),
    ),
    (jd.rules.mean(), feedback(jd.compression.power_sgd(1)), "psum", None),
    (
        jd.rules.mean(),
        jd.compression.momentum_correction(jd.compression.top_k(0.2)),
        "scatter",
        None,
    ),
    (
        jd.rules.mean(),
        feedback(jd.compression.top_k(0.2), residual_dtype="int8"),
        "scatter",
        feedback(jd.compression.scaled_sign(), residual_dtype="int8"),
    ),
]


@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 3)])
@pytest.mark.parametrize(
    ("rule", "compressor", "route", "downlink"),
    COMPRESSORS,
    ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in COMPRESSORS],
)
def test_the_mean_residual_stays_and_training_goes_on(
    rule, compressor, route, downlink, old, new
):
    tx = jd.aggregate("data", rule, compressor, route, downlink=downlink)
    _, state = run(tx, make(tx, old), old, steps=3)
    resized = jd.resize_residuals(state, old, new, PARAMS)
    wanted = jax.eval_shape(lambda: make(tx, new))
    assert jax.tree.structure(resized) == jax.tree.structure(wanted)
    for left, right in zip(*map(jax.tree.leaves, (resized, wanted)), strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)
    if "int8" not in compressor.name:
        before, after = means(state), means(resized)
        for name in before:
            np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-7)
    _, state = run(tx, resized, new, steps=2)
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            assert np.isfinite(leaf).all()


def test_nothing_is_lost_over_a_resize():
    """What was sent and what is owed, both ways, is all that came."""
    up, down = feedback(jd.compression.top_k(0.2)), feedback(jd.compression.top_k(0.3))
    tx = jd.aggregate("data", compressor=up, downlink=down)
    first, state = run(tx, make(tx, 4), 4, steps=5)
    state = jd.resize_residuals(state, 4, 7, PARAMS)
    second, state = run(tx, state, 7, steps=5, seed=50)
    mean = np.asarray(jax.random.normal(jax.random.key(9), (36,)))
    owed_up = state.uplink.inner_state["a"].residual.mean(axis=0)
    owed_down = state.downlink.inner_state["a"].residual.reshape(-1)[:35]
    total = first["a"] + second["a"] + owed_up + owed_down.reshape(5, 7)
    np.testing.assert_allclose(total, 10 * mean[:35].reshape(5, 7), atol=1e-4)


def test_states_around_it_are_resized_too():
    tx = optax.chain(
        jd.per_worker("data", optax.trace(0.9)),
        jd.aggregate("data", compressor=feedback(jd.compression.scaled_sign())),
        optax.adam(1e-3),
    )
    state = make(tx, 4)
    resized = jd.resize_residuals(state, 4, 2, PARAMS)
    assert resized[0].inner_state.trace["a"].shape == (2, 5, 7)
    assert resized[2][0].mu["a"].shape == (5, 7)


@pytest.mark.parametrize("scope", ["gradient", "leaf"])
@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_what_a_rule_remembers_is_cut_again(route, scope):
    """The last result is that of all workers, however many they are."""
    rule = jd.rules.centered_clipping(2.0)
    tx = jd.aggregate("data", rule, route=route, scope=scope, metrics=True)
    out, state = run(tx, make(tx, 4), 4, steps=1)
    resized = jd.resize_residuals(state, 4, 3, PARAMS)
    wanted = jax.eval_shape(lambda: make(tx, 3))
    assert jax.tree.structure(resized) == jax.tree.structure(wanted)
    for left, right in zip(*map(jax.tree.leaves, (resized, wanted)), strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)
    one = resized if scope == "gradient" else resized["a"]
    held = one.rule.part.inner_state if route == "scatter" else one.rule.whole
    np.testing.assert_array_equal(held["a"].reshape(-1)[:35], out["a"].reshape(-1))
    run(tx, resized, 3, steps=1)


def test_the_old_number_is_checked():
    tx = jd.aggregate("data", compressor=feedback(jd.compression.scaled_sign()))
    with pytest.raises(ValueError, match="`old` must be .*, 4, got 3"):
        jd.resize_residuals(make(tx, 4), 3, 8, PARAMS)
