"""A step travels as a program, with the state as a list of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

import jaxdist as jd

CHAINS = {
    "aggregate": jd.aggregate(
        "data",
        compressor=jd.compression.error_feedback(jd.compression.drive()),
    ),
    "everything": optax.chain(
        jd.per_worker("data", jd.delay_updates([0.5, 0.5])),
        jd.inject_attack("data", jd.attacks.learned_mimic(), 1),
        jd.aggregate(
            "data",
            jd.rules.clipped_clustering(4),
            jd.compression.by_leaf(jd.compression.ef21(jd.compression.top_k(0.5))),
            metrics=True,
        ),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.usefixtures("standard_promotion")
def test_a_step_is_serialized_as_the_page_says(name):
    pytest.importorskip("flatbuffers")
    tx = optax.chain(CHAINS[name], optax.adam(1e-2))
    init, step = jd.simulate(lambda p, b: jnp.mean((p[None] - b) ** 2), tx, 4, "data")
    leaves, treedef = jax.tree.flatten(init(jnp.ones(16)))

    def flat_step(leaves, batch):
        state, metrics = step(treedef.unflatten(leaves), batch)
        return jax.tree.leaves(state), metrics["loss"]

    batch = jax.random.normal(jax.random.key(0), (8, 16))
    data = export.export(jax.jit(flat_step))(leaves, batch).serialize()
    again = export.deserialize(data)
    for _ in range(2):
        found, expected = again.call(leaves, batch), flat_step(leaves, batch)
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        leaves = found[0]
