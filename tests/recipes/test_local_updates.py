"""Rounds as a transformation agree with the recipe, and send nothing in between."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.workers import _arrival
from tests import harness
from tests.recipes import local, problem

AXIS = harness.AXIS
INNER = optax.sgd(0.1, momentum=0.9)
OUTERS = {
    "average": optax.chain(jd.aggregate(AXIS), optax.sgd(1.0)),
    "one bit, attacked": optax.chain(
        jd.inject_attack(AXIS, jd.attacks.sign_flip(3.0), 2),
        jd.aggregate(
            AXIS,
            jd.rules.trimmed_mean(2),
            jd.compression.error_feedback(jd.compression.scaled_sign()),
        ),
        optax.sgd(0.7, momentum=0.9, nesterov=True),
    ),
}


def _recipe(name, tx):
    if name == "simulate":
        return jd.simulate(problem.loss, tx, 8, AXIS, per_worker_params=True)
    mesh = harness.make_mesh()
    return jd.data_parallel(problem.loss, tx, mesh, AXIS, per_worker_params=True)


@pytest.mark.parametrize("recipe", ["simulate", "data_parallel"])
@pytest.mark.parametrize("name", OUTERS)
def test_agrees_with_the_rounds_of_the_recipe(name, recipe):
    inputs, targets = local.batches(9)
    init, step = jd.simulate(problem.loss, INNER, 8, AXIS, outer=OUTERS[name])
    wanted = init(problem.PARAMS)
    for turn in range(3):
        part = slice(3 * turn, 3 * turn + 3)
        wanted, _ = step(wanted, (inputs[part], targets[part]))
    tx = jd.local_updates(AXIS, INNER, OUTERS[name], period=3)
    init, step = _recipe(recipe, tx)
    state = init(problem.PARAMS)
    for batch in zip(inputs, targets, strict=True):
        state, _ = step(state, batch)
    anchor = jax.tree.map(np.asarray, state.opt_state.anchor)
    harness.assert_trees_close(anchor, wanted.params, atol=1e-6)
    own = jax.tree.map(np.asarray, state.params)
    for leaf, like in zip(jax.tree.leaves(own), jax.tree.leaves(anchor), strict=True):
        np.testing.assert_allclose(
            leaf, np.broadcast_to(like, leaf.shape), rtol=1e-6, atol=1e-7
        )


def test_narrow_parameters_have_a_wide_anchor():
    tx = jd.local_updates(AXIS, optax.sgd(0.1), OUTERS["average"], period=2)
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), problem.PARAMS)
    init, step = jd.simulate(problem.loss, tx, 8, AXIS, per_worker_params=True)
    state = init(params)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(4):
            state, _ = step(state, problem.BATCH)
    assert state.params["w"].dtype == jnp.bfloat16
    assert state.opt_state.anchor["w"].dtype == jnp.float32


def test_collectives_stand_in_the_branch_alone():
    tx = jd.local_updates(AXIS, optax.sgd(0.1), OUTERS["average"], period=4)

    def worker(params, gradient):
        state = tx.init(problem.PARAMS)
        updates, _ = tx.update(gradient, state, params)
        return updates

    rows = jax.tree.map(lambda p: jnp.stack([p] * 8), problem.PARAMS)
    text = (
        jax.jit(harness.mapped(worker, "shard_map"))
        .lower(rows, rows)
        .compile()
        .as_text()
    )
    entry = text[text.index("ENTRY") :]
    assert "conditional(" in entry
    assert not re.search(r"all-(reduce|gather|to-all)", entry)
    assert re.search(r"all-reduce", text)


def test_a_step_sends_its_part_of_an_exchange():
    def total(tx):
        return jd.communication_report(tx, problem.PARAMS, 8).total_nbytes

    tx = jd.local_updates(AXIS, INNER, OUTERS["average"], period=4)
    assert total(tx) == total(OUTERS["average"]) / 4


def test_what_cannot_be_right_is_refused():
    inner = optax.chain(jd.aggregate(AXIS), optax.sgd(0.1))
    tx = jd.local_updates(AXIS, inner, OUTERS["average"], period=2)
    init, step = jd.simulate(problem.loss, tx, 8, AXIS, per_worker_params=True)
    with pytest.raises(ValueError, match="must not communicate.*Put it into `outer`"):
        step(init(problem.PARAMS), problem.BATCH)
    tx = jd.local_updates(AXIS, INNER, OUTERS["average"], period=2)
    init, _ = jd.simulate(problem.loss, tx, 8, AXIS)
    with pytest.raises(ValueError, match="`params` are the same on all workers"):
        init(problem.PARAMS)

    def late(params):
        arrival = _arrival.Arrival(jnp.int32(3), jnp.int32(1), 8)
        state = tx.init(params)
        return tx.update(params, state, params, arrival=arrival)[0]

    rows = jax.tree.map(lambda p: jnp.stack([p] * 2), problem.PARAMS)
    with pytest.raises(ValueError, match="give simulate_async `outer`"):
        jax.vmap(late, axis_name=AXIS)(rows)
