"""Local transformations live in a flax optimizer over sharded parameters."""

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

import jaxdist as jd

LOCAL = {
    "compress": jd.compress(jd.compression.error_feedback(jd.compression.top_k(0.1))),
    "delay": jd.delay_updates(2),
}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", LOCAL)
def test_state_inherits_the_sharding_of_the_parameters(name):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        kernel_init = nnx.with_partitioning(
            nnx.initializers.lecun_normal(), ("data", "model")
        )
        model = nnx.Linear(8, 6, kernel_init=kernel_init, rngs=nnx.Rngs(0))
        tx = optax.chain(LOCAL[name], optax.sgd(0.1))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, inputs):
            def loss(model):
                return jnp.mean(model(inputs) ** 2)

            optimizer.update(model, nnx.grad(loss)(model))

        before = set(nnx.to_flat_state(nnx.state(optimizer)).paths)
        for _ in range(3):
            step(model, optimizer, jnp.ones((4, 8)))
        assert set(nnx.to_flat_state(nnx.state(optimizer)).paths) == before
        kernels = [
            leaf
            for leaf in jax.tree.leaves(nnx.state(optimizer))
            if getattr(leaf, "ndim", 0) >= 2 and leaf.shape[:2] == (8, 6)
        ]
        assert kernels
        for leaf in kernels:
            assert leaf.sharding.spec[:2] == ("data", "model")
