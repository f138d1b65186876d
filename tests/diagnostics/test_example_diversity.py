"""Example diversity against all gradients at once, and in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd

RNG = np.random.default_rng(0)
EXAMPLES = RNG.standard_normal((37, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 37)


def loss(params, batch):
    logits = jnp.tanh(batch[0] @ params["w"]) @ params["v"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


PARAMS = {"w": jnp.asarray(RNG.standard_normal((6, 5)), jnp.float32)}
PARAMS["v"] = jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32)
BATCH = (jnp.asarray(EXAMPLES), jnp.asarray(LABELS))


def all_gradients():
    def one(example, label):
        return jax.grad(loss)(PARAMS, (example[None], label[None]))

    leaves = jax.tree.leaves(jax.vmap(one)(*BATCH))
    return np.concatenate([leaf.reshape(37, -1) for leaf in leaves], axis=1)


@pytest.mark.parametrize("block_size", [1, 5, 64])
def test_blocks_give_what_all_at_once_give(block_size):
    rows = all_gradients()
    found = jax.jit(
        lambda p: jd.diagnostics.example_diversity(loss, p, BATCH, block_size)
    )(PARAMS)
    squares, of_sum = (rows**2).sum(), (rows.sum(0) ** 2).sum()
    np.testing.assert_allclose(found[:2], (squares, of_sum), rtol=1e-5)
    np.testing.assert_allclose(found.batch_bound, 37 * squares / of_sum, rtol=1e-5)


def test_memory_is_that_of_a_block():
    def temporaries(block_size):
        def measure(params, batch):
            return jd.diagnostics.example_diversity(loss, params, batch, block_size)[:2]

        batch = (jnp.zeros((1024, 6)), jnp.zeros(1024, jnp.int32))
        compiled = jax.jit(measure).lower(PARAMS, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(16) < 0.1 * temporaries(1024)


def unit_vectors(number, size):
    """Return unit vectors that add up to nothing."""
    half = RNG.standard_normal((number // 2, size))
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    return jnp.asarray(np.concatenate([half, -half]), jnp.float32)


def test_step_lemma_and_its_fixed_point_in_closed_form():
    """f_i = |w - x_i|^2 / 2, steps on sums of B gradients: Lemma 1 of the paper.

    The squared distance after a step, as the bound of the batch size gives it, is
    (1 - rate B)^2 |w|^2 + rate^2 B, whose fixed point is rate / (2 - rate B).
    """
    points, rate = unit_vectors(64, 8), 0.01

    def square_loss(w, batch):
        return jnp.mean(jnp.sum((w[None] - batch) ** 2, axis=1)) / 2

    w = jnp.asarray(RNG.standard_normal(8), jnp.float32)
    square = float(w @ w)
    found = jd.diagnostics.example_diversity(square_loss, w, points)
    assert found.batch_bound == pytest.approx((square + 1) / square, rel=1e-5)
    mean_square, bound = float(found.squares) / 64, float(found.batch_bound)
    fixed_points = {1: 0.0050251, 8: 0.0052083, 32: 0.0059524, 50: 0.0066667}
    for batch, fixed in fixed_points.items():
        noise = rate**2 * batch * (1 + (batch - 1) / bound) * mean_square
        after = square - 2 * batch * rate * square + noise
        closed = (1 - rate * batch) ** 2 * square + rate**2 * batch
        assert after == pytest.approx(closed, rel=1e-4)
        assert rate / (2 - rate * batch) == pytest.approx(fixed, rel=1e-4)


def test_bound_of_generalized_linear_losses():
    """B >= n min |x|^2 / sigma_max(X)^2 for every w."""
    least = (EXAMPLES**2).sum(1).min() * 37 / np.linalg.norm(EXAMPLES, 2) ** 2
    signs = jnp.asarray(np.sign(RNG.standard_normal(37)), jnp.float32)

    def logistic(w, batch):
        return jnp.mean(jax.nn.softplus(-batch[1] * (batch[0] @ w)))

    def bound_at(w):
        batch = (BATCH[0], signs)
        return jd.diagnostics.example_diversity(logistic, w, batch).batch_bound

    points = jnp.asarray(3 * RNG.standard_normal((100, 6)), jnp.float32)
    assert float(jax.jit(jax.vmap(bound_at))(points).min()) >= least


def linear(w, batch):
    return jnp.mean(batch @ w)


@pytest.mark.parametrize(
    ("rows", "diversity", "bound"),
    [
        (np.ones((4, 4)), 0.25, 1),
        (np.eye(4), 1, 4),
        ([[1.0, 2.0], [-1.0, -2.0]], np.inf, np.inf),
    ],
    ids=["identical", "orthogonal", "antipodal"],
)
def test_limits(rows, diversity, bound):
    rows = jnp.asarray(rows, jnp.float32)
    found = jd.diagnostics.example_diversity(linear, jnp.zeros(rows.shape[1]), rows)
    assert (found.diversity, found.batch_bound) == (diversity, bound)


def test_what_a_loss_returns_besides_is_not_looked_at():
    def with_aux(w, batch):
        return linear(w, batch), {"accuracy": jnp.ones(())}

    found = jd.diagnostics.example_diversity(with_aux, jnp.zeros(4), jnp.eye(4))
    assert found.diversity == 1


@pytest.mark.parametrize(
    "batch", [(jnp.ones((3, 2)), jnp.ones(4)), jnp.ones((0, 2)), jnp.ones(()), ()]
)
def test_batches_of_no_number_of_examples(batch):
    with pytest.raises(ValueError, match="`batch` must hold arrays"):
        jd.diagnostics.example_diversity(linear, jnp.zeros(2), batch)
