"""Where only some workers meet, nothing may belong to a place among them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.workers import _arrival

TOP = jd.compression.top_k(0.5)
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())


def met(tx, updates, num_workers):
    def met_worker(index, update):
        everybody = num_workers == updates.shape[0]
        worker = index if everybody else 2 * index
        arrival = _arrival.Arrival(
            worker, jnp.int32(1), num_workers, everybody=everybody
        )
        return tx.update(update, tx.init(update), update, arrival=arrival)[0]

    places = jnp.arange(updates.shape[0])
    return jax.jit(jax.vmap(met_worker, axis_name="w"))(places, updates)


UPDATES = jnp.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (jd.aggregate("w", compressor=jd.compression.ef21(TOP)), "error_feedback"),
        (
            jd.aggregate("w", jd.rules.median(), jd.compression.ef21(TOP)),
            "`compressor` is incremental.*not all workers meet.*error_feedback",
        ),
        (jd.aggregate("w", jd.rules.monna(1)), "`rule` monna.*not all.*multi_krum"),
        (
            jd.aggregate("w", jd.rules.nnm(1, then=jd.rules.monna(1))),
            "`rule` nnm.*monna.*not all.*multi_krum",
        ),
        (
            jd.aggregate("w", jd.rules.mean(weights=[0.4, 0.3, 0.3])),
            "`rule` mean.weights.*not all.*multi_krum",
        ),
        (
            jd.aggregate("w", jd.rules.monna(1), scope="leaf"),
            "`rule` monna.*not all.*multi_krum",
        ),
    ],
)
def test_what_belongs_to_a_place_is_refused_with_a_way_out(tx, message):
    with pytest.raises(ValueError, match=message):
        met(tx, UPDATES, 8)
    if "monna" not in message:
        met(tx, UPDATES, 3)  # where everybody meets, a place is a worker


@pytest.mark.parametrize(
    "tx",
    [
        jd.aggregate("w"),
        jd.aggregate("w", jd.rules.trimmed_mean(1), SIGN, "scatter"),
        jd.aggregate("w", jd.rules.centered_clipping(1.0)),
        jd.aggregate("w", jd.rules.median(), downlink=jd.compression.scaled_sign()),
        jd.aggregate("w", jd.rules.krum(0), metrics=True),
        jd.aggregate("w", jd.rules.median(), scope="leaf"),
        jd.aggregate("w", jd.rules.median(), downlink=jd.compression.ef21(TOP)),
        jd.shard_optimizer("w", optax.trace(0.9)),
    ],
    ids=[
        *("mean", "sign", "clipping", "downlink", "metrics", "leaf", "ef21 back"),
        "parts",
    ],
)
def test_all_else_is_as_ever(tx):
    found = met(tx, UPDATES, 8)
    alone = jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g), g)[0], axis_name="w"))
    np.testing.assert_array_equal(found, alone(UPDATES))
