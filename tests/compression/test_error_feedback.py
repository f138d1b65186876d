"""Error feedback: nothing is lost, and the papers' counter-examples converge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.contract import table

WRAPPED = [
    jd.compression.top_k(0.1),
    jd.compression.scaled_sign(),
    jd.compression.qsgd(8),
    jd.compression.cast(jnp.bfloat16),
    jd.compression.contractive(jd.compression.random_k(0.1)),
    jd.compression.contractive(jd.compression.qsgd(2)),
]


@pytest.mark.parametrize("inner", WRAPPED, ids=[c.name for c in WRAPPED])
def test_what_was_sent_and_what_is_kept_is_all_that_came(inner):
    compressor = jd.compression.error_feedback(inner)
    gradients = jax.random.normal(jax.random.key(0), (30, 50))

    def step(state, item):
        gradient, i = item
        sent, state = harness.roundtrip(compressor, gradient, jax.random.key(i), state)
        return state, sent

    start = compressor.init(gradients[0])
    state, sent = jax.lax.scan(step, start, (gradients, jnp.arange(30)))
    np.testing.assert_allclose(
        sent.sum(axis=0) + state.residual, gradients.sum(axis=0), atol=2e-5
    )


def test_residual_is_float32_and_keeps_the_rounding_of_narrow_leaves():
    compressor = jd.compression.error_feedback(jd.compression.identity())
    leaf = jnp.full(4, 1.0, jnp.bfloat16)
    tiny = jnp.full(4, 2.0**-12, jnp.bfloat16)
    state = compressor.init(leaf)
    _, state = harness.roundtrip(compressor, leaf, state=state)
    assert state.residual.dtype == jnp.float32
    state = state._replace(residual=jnp.full(4, 2.0**-12))
    sent, state = harness.roundtrip(compressor, leaf, state=state)
    assert sent.dtype == jnp.bfloat16
    np.testing.assert_array_equal(state.residual, tiny.astype(jnp.float32))


def test_payload_has_the_dtype_of_the_leaf():
    leaf = jnp.zeros(100, jnp.bfloat16)
    for inner in (jd.compression.identity(), jd.compression.top_k(0.1)):
        wrapped = jd.compression.error_feedback(inner)
        assert jd.payload_nbytes(wrapped, leaf) == jd.payload_nbytes(inner, leaf)


def test_decay_forgets():
    compressor = jd.compression.error_feedback(jd.compression.top_k(0.5), decay=0.25)
    state = compressor.init(jnp.zeros(2))._replace(residual=jnp.array([0.0, 4.0]))
    sent, state = harness.roundtrip(compressor, jnp.array([3.0, 1.0]), state=state)
    np.testing.assert_array_equal(sent, [3, 0])
    np.testing.assert_array_equal(state.residual, [0, 2])


def test_one_nan_does_not_poison_the_memory():
    compressor = jd.compression.error_feedback(jd.compression.scaled_sign(block_size=4))
    state = compressor.init(jnp.zeros(8))._replace(residual=jnp.arange(8.0))
    leaf = jnp.ones(8).at[1].set(jnp.nan)
    _, after = harness.roundtrip(compressor, leaf, state=state)
    np.testing.assert_array_equal(after.residual[:4], state.residual[:4])
    assert np.isfinite(after.residual).all()
    sent, _ = harness.roundtrip(compressor, jnp.ones(8), state=after)
    assert np.isfinite(sent).all()


def _subgradient(x, eps=0.5):
    """Of eps |x1 + x2| + |x1 - x2|, with sign(0) = +1."""
    plus, minus = (jnp.where(z >= 0, 1.0, -1.0) for z in (x[0] + x[1], x[0] - x[1]))
    return jnp.stack([eps * plus + minus, eps * plus - minus])


@pytest.mark.parametrize(
    ("compressor", "low", "high"),
    [
        (jd.compression.scaled_sign(), 0.68, 0.69),
        (jd.compression.error_feedback(jd.compression.scaled_sign()), 0, 1e-4),
    ],
    ids=["without", "with"],
)
def test_counter_example_of_the_paper(compressor, low, high):
    """Signs of the gradient never leave the line x1 + x2 = 1.37; feedback does.

    The last steps are 2e-5 long: after few, where they end depends on the rounding.
    """

    def step(carry, t):
        x, state = carry
        rate = 0.01 / jnp.sqrt(1 + t)
        sent, state = harness.roundtrip(compressor, rate * _subgradient(x), state=state)
        return (x - sent, state), None

    start = jnp.array([1.0, 0.37])
    (x, _), _ = jax.lax.scan(
        step, (start, compressor.init(start)), jnp.arange(200_000.0)
    )
    loss = 0.5 * jnp.abs(x[0] + x[1]) + jnp.abs(x[0] - x[1])
    assert low <= float(loss) <= high


def test_a_leaf_that_is_not_contracted_is_refused_when_seen():
    grows = jd.compression.random_k(0.5)._replace(
        contract=jd.Contract(
            variance=lambda size: 2.0 if size < 10 else 0.5, stochastic=True
        )
    )
    compressor = jd.compression.error_feedback(grows)
    harness.roundtrip(compressor, jnp.ones(100), 0)
    with pytest.raises(ValueError, match="blocks of 5 elements"):
        harness.roundtrip(compressor, jnp.ones(5), 0)


def test_every_contraction_of_the_table_is_accepted():
    for row in table.COMPRESSORS:
        contracts = row.compressor.contract.contraction(2**20) > 0
        if contracts and not row.compressor.remembers:
            jd.compression.error_feedback(row.compressor)


@pytest.mark.parametrize("decay", [-0.1, 1.5])
def test_decay_has_a_range(decay):
    with pytest.raises(ValueError, match=rf"`decay` must lie in .*, got {decay}"):
        jd.compression.error_feedback(jd.compression.top_k(0.1), decay)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_narrow_residuals_lose_nothing_on_average(dtype):
    """The rounding of the residual is unbiased: 200 runs average to plain feedback."""
    inner = jd.compression.top_k(0.25)
    gradients = jax.random.normal(jax.random.key(0), (20, 16))

    def total(compressor, seed):
        def step(state, item):
            gradient, key = item
            sent, state = harness.roundtrip(compressor, gradient, key, state)
            return state, sent

        keys = jax.random.split(jax.random.key(seed), 20)
        start = compressor.init(gradients[0])
        return jax.lax.scan(step, start, (gradients, keys))[1].sum(axis=0)

    narrow = jd.compression.error_feedback(inner, residual_dtype=dtype)
    sums = jax.jit(jax.vmap(lambda seed: total(narrow, seed)))(jnp.arange(200))
    exact = gradients.sum(axis=0)
    # What is not sent yet is at most the residual, 4 at its largest here.
    assert float(jnp.abs(sums - exact[None]).max()) < 6
    state = narrow.init(gradients[0])
    assert sum(x.nbytes for x in jax.tree.leaves(state)) <= 16 * 2 + 4


def test_a_schedule_gives_the_iterates_of_the_paper():
    """The papers compress p = eta g + e; a pipeline scales after the compression."""
    rates = jnp.asarray([1.0, 0.5, 0.5, 0.1, 0.2])
    gradients = jax.random.normal(jax.random.key(1), (5, 12))
    inner = jd.compression.top_k(0.25)
    papers = jd.compression.error_feedback(inner)
    rescaled = jd.compression.error_feedback(
        inner, learning_rate=lambda count: rates[count]
    )
    one, other = papers.init(gradients[0]), rescaled.init(gradients[0])
    for rate, gradient in zip(rates, gradients, strict=True):
        expected, one = harness.roundtrip(papers, rate * gradient, state=one)
        sent, other = harness.roundtrip(rescaled, gradient, state=other)
        np.testing.assert_allclose(rate * sent, expected, rtol=1e-5)


def test_a_step_size_of_zero_does_not_divide():
    compressor = jd.compression.error_feedback(
        jd.compression.top_k(0.5), learning_rate=lambda count: 0.0
    )
    state = compressor.init(jnp.zeros(4))
    for _ in range(2):
        sent, state = harness.roundtrip(compressor, jnp.arange(1.0, 5.0), state=state)
        assert np.isfinite(sent).all() and np.isfinite(state.residual).all()


def test_unknown_dtypes_are_refused():
    with pytest.raises(ValueError, match="`residual_dtype` must be one of.*'int4'"):
        jd.compression.error_feedback(jd.compression.top_k(0.1), residual_dtype="int4")


def test_an_average_moves_slowly_to_what_is_dropped():
    compressor = jd.compression.error_feedback(jd.compression.top_k(0.5), average=0.25)
    state = compressor.init(jnp.zeros(2))
    owed = np.zeros(2)
    for gradient in ([3.0, 1.0], [2.0, 1.0], [0.5, 4.0]):
        wanted = np.asarray(gradient) + owed
        sent = np.where(np.abs(wanted) == np.abs(wanted).max(), wanted, 0.0)
        owed = 0.75 * owed + 0.25 * (wanted - sent)
        found, state = jd.roundtrip(compressor, jnp.asarray(gradient), state=state)
        np.testing.assert_allclose(found, sent, rtol=1e-6)
        np.testing.assert_allclose(state.residual, owed, rtol=1e-6)
    assert compressor.name == "error_feedback(top_k(0.5), average=0.25)"


def test_what_is_kept_of_what_was_sent_is_a_momentum():
    compressor = jd.compression.error_feedback(jd.compression.top_k(0.5), keep=0.75)
    state, owed = compressor.init(jnp.zeros(2)), np.zeros(2)
    for gradient in ([3.0, 1.0], [2.0, 1.0], [0.5, 4.0]):
        wanted = np.asarray(gradient) + owed
        sent = np.where(np.abs(wanted) == np.abs(wanted).max(), wanted, 0.0)
        owed = wanted - 0.25 * sent
        found, state = jd.roundtrip(compressor, jnp.asarray(gradient), state=state)
        np.testing.assert_allclose(found, sent, rtol=1e-6)
        np.testing.assert_allclose(state.residual, owed, rtol=1e-6)
    assert compressor.name == "error_feedback(top_k(0.5), keep=0.75)"


def test_workers_in_a_dialogue_keep_a_share_of_what_they_said_together():
    low_rank = jd.compression.power_sgd(1)
    keeping = jd.compression.error_feedback(low_rank, keep=0.5)
    tx = jd.aggregate(harness.AXIS, compressor=keeping, route="psum")
    matrices = jax.random.normal(jax.random.key(0), (4, 9, 8))

    def step(leaf):
        mean, state = tx.update(leaf, tx.init(leaf))
        return mean, state.uplink.inner_state.residual

    means, owed = jax.jit(jax.vmap(step, axis_name=harness.AXIS))(matrices)
    assert np.linalg.norm(means[0]) > 0.1
    np.testing.assert_allclose(
        owed.reshape(matrices.shape), matrices - 0.5 * means, atol=1e-5
    )
