"""A simulation refuses what a mesh would refuse, in the same words."""

import jax
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

AGGREGATE = jd.aggregate(harness.AXIS)
MISFITS = {
    "no aggregate": (optax.sgd(0.1), "gives every worker other updates.*aggregate"),
    "only some leaves": (
        optax.chain(optax.masked(AGGREGATE, {"w": True, "v": False}), optax.sgd(0.1)),
        "gives every worker other updates .leaf 'v'.",
    ),
    "state before": (
        optax.chain(optax.trace(0.9), AGGREGATE),
        "keeps state that differs between workers.*trace.*jaxdist.per_worker",
    ),
    "twice": (
        optax.chain(AGGREGATE, AGGREGATE, optax.sgd(0.1)),
        "already equal on all workers of 'data'",
    ),
    "nothing to pull": (
        optax.chain(AGGREGATE, optax.sgd(0.1), jd.pull_to_leader(harness.AXIS, 0.1)),
        "`params` are the same on all workers",
    ),
}


@pytest.mark.parametrize(("tx", "message"), MISFITS.values(), ids=list(MISFITS))
@pytest.mark.parametrize("recipe", ["simulate", "data_parallel"])
def test_optimizers_that_do_not_fit_say_why(recipe, tx, message):
    if recipe == "simulate":
        init, _ = jd.simulate(problem.loss, tx, 64, harness.AXIS)
    else:
        mesh = harness.make_mesh()
        init, _ = jd.data_parallel(problem.loss, tx, mesh, harness.AXIS)
    with pytest.raises(ValueError, match=message):
        init(problem.PARAMS)


def test_what_types_alone_refuse_may_be_simulated():
    def update(updates, state, params=None, **extra):
        # A loop from zeros would need a `pcast` on a mesh.
        def double(_, total):
            return jax.tree.map(lambda t, u: t + u, total, updates)

        zeros = optax.tree.zeros_like(params)
        return jax.lax.fori_loop(0, 2, double, zeros), state

    twice = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tx = optax.chain(twice, AGGREGATE, optax.sgd(0.1))
    init, step = jd.simulate(problem.loss, tx, 4, harness.AXIS)
    step(init(problem.PARAMS), problem.BATCH)


def test_names_of_axes_that_differ():
    init, _ = jd.simulate(problem.loss, optax.chain(AGGREGATE), 4, "worker")
    with pytest.raises(NameError, match=r"unbound axis name: data.*jaxdist\.simulate"):
        _, step = jd.simulate(problem.loss, optax.chain(AGGREGATE), 4, "worker")
        step(init(problem.PARAMS), problem.BATCH)
    with pytest.raises(NameError, match=r"jax\.vmap\(\.\.\., axis_name='data'\)"):
        jax.jit(AGGREGATE.update)(problem.PARAMS, AGGREGATE.init(problem.PARAMS))
