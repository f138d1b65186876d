"""Masked: only what the mask keeps travels, without a place, and arrives as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS, WORKERS = harness.AXIS, harness.NUM_WORKERS
RNG = np.random.default_rng(0)
MASK = {
    "kernel": RNG.permutation(60).reshape(12, 5) < 7,
    "frozen": np.zeros((4,), bool),
    "whole": np.ones((3,), bool),
    "bias": None,
}
KEPT = 7 + 3 + 5  # elements that travel
LIKE = {
    name: jnp.zeros(shape)
    for name, shape in {"kernel": (12, 5), "frozen": 4, "whole": 3, "bias": 5}.items()
}
UPDATES = jax.tree.map(
    lambda leaf: jnp.asarray(RNG.standard_normal((WORKERS, *leaf.shape)), jnp.float32),
    LIKE,
)


def seen_by_all(tx):
    """Return what the first worker makes of the updates of all."""
    aggregate = harness.mapped(lambda g: tx.update(g, tx.init(g))[0], "shard_map")
    return jax.jit(aggregate).lower(UPDATES).compile()


@pytest.mark.parametrize(
    ("rule", "reduced", "collective", "nbytes"),
    [
        (jd.rules.mean(), np.mean, "all-reduce", 4 * KEPT),
        (jd.rules.median(), np.median, "all-gather", WORKERS * 4 * KEPT),
    ],
)
def test_four_bytes_for_each_kept_element(rule, reduced, collective, nbytes):
    """The program has one collective, which carries them and no index."""
    tx = jd.aggregate(
        AXIS,
        rule,
        jd.compression.masked(MASK),
        route="psum" if rule.linear else "gather",
    )
    program = seen_by_all(tx)
    found = harness.collectives(program.as_text())
    assert {name for name, _ in found} == {collective}
    assert sum(sent for _, sent in found) == nbytes
    for name, seen in program(UPDATES).items():
        kept = True if MASK[name] is None else MASK[name]
        expected = np.where(kept, reduced(np.asarray(UPDATES[name]), axis=0), 0)
        np.testing.assert_allclose(seen[0], expected, rtol=1e-5, atol=1e-7)


def test_a_leaf_that_keeps_nothing_sends_nothing():
    frozen = jd.compression.masked(MASK).select("frozen", LIKE["frozen"])
    assert jd.payload_nbytes(frozen, LIKE["frozen"]) == 0
    seen, _ = jd.roundtrip(frozen, jnp.ones(4))
    np.testing.assert_array_equal(seen, np.zeros(4))


def test_leaves_without_a_mask_travel_as_they_are():
    policy = jd.compression.masked(MASK)
    for name in ("bias", "whole"):
        assert policy.select(name, LIKE[name]).name == "identity()"
    assert policy.name == "masked(0.149)"  # 10 of 67


def test_the_parts_of_a_split_optimizer_have_masks_of_their_own():
    """Masks of leaves that another transformation handles are in nobody's way."""
    tx = optax.masked(
        jd.compress(jd.compression.masked(MASK)), {**dict.fromkeys(LIKE, False)}
    )
    seen, _ = tx.update(LIKE, tx.init(LIKE))
    assert jax.tree.structure(seen) == jax.tree.structure(LIKE)


def test_each_leaf_needs_its_mask():
    with pytest.raises(ValueError, match="`mask` must have a leaf 'other'"):
        jd.compress(jd.compression.masked(MASK)).init({"other": jnp.ones(3)})


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"route": "scatter"}, "`route` 'scatter' cannot carry leaf"),
        (
            {"downlink": jd.compression.masked(MASK)},
            "`downlink` masked.* needs the shape of a whole leaf",
        ),
    ],
)
def test_a_part_of_a_leaf_has_no_mask(more, found):
    given = {"compressor": jd.compression.masked(MASK)} if "route" in more else {}
    tx = jd.aggregate(AXIS, **given, **more)
    with pytest.raises(ValueError, match=found):
        jax.eval_shape(
            jax.vmap(lambda g: tx.update(g, tx.init(g))[0], axis_name=AXIS), UPDATES
        )


def test_no_memory_collects_what_is_never_sent():
    policy = jd.compression.masked(MASK)
    with pytest.raises(TypeError, match="leaf policy masked"):
        jd.compression.error_feedback(policy)
    kernel = policy.select("kernel", LIKE["kernel"])
    with pytest.raises(ValueError, match="is no contraction"):
        jd.compression.error_feedback(kernel)
