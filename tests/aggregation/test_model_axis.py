"""Parameters sharded inside the same shard_map: rules see the whole gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd
from tests import harness

WORKERS, SHARDS = 4, 2
GRADIENTS = {
    "kernel": jax.random.normal(jax.random.key(0), (WORKERS, 2, 6, 8)),
    "bias": jax.random.normal(jax.random.key(1), (WORKERS, 2, 5)),
}
IN_SPECS = {
    "kernel": PartitionSpec("data", None, None, "model"),
    "bias": PartitionSpec("data"),
}
OUT_SPECS = {"kernel": PartitionSpec(None, None, "model"), "bias": PartitionSpec()}


def worker(tx, gradients):
    """Scan over the updates of one shard of one worker ``[steps, ...]``."""

    def step(state, gradient):
        out, state = tx.update(gradient, state)
        return state, out

    params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), gradients)
    return jax.lax.scan(step, tx.init(params), gradients)[1]


def on_mesh(tx, gradients, check_vma=True):
    mesh = jax.make_mesh(
        (WORKERS, SHARDS), ("data", "model"), axis_types=(AxisType.Auto,) * 2
    )

    def on_device(gradients):
        return worker(tx, jax.tree.map(lambda leaf: leaf[0], gradients))

    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=({name: IN_SPECS[name] for name in gradients},),
        out_specs={name: OUT_SPECS[name] for name in gradients},
        check_vma=check_vma,
    )
    return jax.jit(mapped)(gradients)


def whole(rule, gradients):
    """Return what the rule makes of the whole gradient, step by step."""
    return jax.jit(jax.vmap(rule, in_axes=1))(gradients)


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_distances_are_those_of_the_whole_gradient(route):
    tx = jd.aggregate("data", jd.rules.krum(0), route=route, model_axis_name="model")
    harness.assert_trees_close(
        on_mesh(tx, GRADIENTS), whole(jd.rules.krum(0), GRADIENTS), rtol=0, atol=0
    )


@pytest.mark.parametrize("backend", ["vmap", "no_vma"])
def test_other_backends_agree(backend):
    tx = jd.aggregate(
        "data", jd.rules.krum(0), route="scatter", model_axis_name="model"
    )
    kernel = {"kernel": GRADIENTS["kernel"]}
    expected = whole(jd.rules.krum(0), kernel)["kernel"]
    if backend == "no_vma":
        out = on_mesh(tx, kernel, check_vma=False)["kernel"]
    else:
        shards = kernel["kernel"].reshape(WORKERS, 2, 6, SHARDS, -1)
        inside = jax.vmap(lambda x: worker(tx, x), 2, 2, axis_name="model")
        out = jax.jit(jax.vmap(inside, axis_name="data"))(shards)[0].reshape(
            expected.shape
        )
    np.testing.assert_array_equal(out, expected)


def test_each_shard_alone_would_choose_otherwise():
    """The test above would otherwise prove nothing; and types notice it."""
    kernel = {"kernel": GRADIENTS["kernel"]}
    alone = on_mesh(jd.aggregate("data", jd.rules.krum(0)), kernel)["kernel"]
    assert np.any(alone != whole(jd.rules.krum(0), kernel)["kernel"])
    with pytest.raises(ValueError, match="varying over {model}"):
        on_mesh(jd.aggregate("data", jd.rules.krum(0)), GRADIENTS)


@pytest.mark.parametrize(
    "tx",
    [
        jd.aggregate(
            "data",
            jd.rules.mean(),
            jd.compression.error_feedback(jd.compression.power_sgd(1)),
        ),
        jd.aggregate(
            "data",
            jd.rules.mean(),
            jd.compression.measured(jd.compression.top_k(0.5)),
            "gather",
        ),
        jd.aggregate(
            *(
                "data",
                jd.rules.median(),
                jd.compression.ef21(jd.compression.scaled_sign()),
            ),
            downlink=jd.compression.ef21(jd.compression.top_k(0.5)),
            model_axis_name="model",
        ),
    ],
    ids=["psum", "gather", "scatter"],
)
def test_leaves_that_are_not_sharded_stay_equal_over_the_model(tx):
    """Biases do not travel with kernels, and end up as if there were none."""
    alone = on_mesh(tx, {"bias": GRADIENTS["bias"]})
    both = on_mesh(tx, {"bias": GRADIENTS["bias"], "kernel": GRADIENTS["kernel"]})
    harness.assert_trees_close(both["bias"], alone["bias"])


def test_random_compressors_draw_alike_on_all_shards():
    twice = jnp.concatenate([GRADIENTS["kernel"][..., :4]] * 2, axis=-1)
    tx = jd.aggregate(
        "data", compressor=jd.compression.random_k(0.3), model_axis_name="model"
    )
    out = on_mesh(tx, {"kernel": twice})["kernel"]
    np.testing.assert_array_equal(out[..., :4], out[..., 4:])
    assert 0 < np.count_nonzero(out) < out.size


def test_the_report_counts_the_distances_over_the_model():
    tx = jd.aggregate("data", jd.rules.krum(0), route="gather", model_axis_name="model")
    report = jd.communication_report(tx, jnp.zeros(8), {"data": 4, "model": 8})
    nbytes = {shipment.leaf: shipment.nbytes for shipment in report.shipments}
    assert nbytes == {"": 3 * 32, "(distances over the model)": 2 * 7 / 8 * 4 * 4**2}


def test_model_axis_name_is_checked():
    with pytest.raises(ValueError, match="`model_axis_name` must be a string"):
        jd.aggregate("data", model_axis_name=2)
