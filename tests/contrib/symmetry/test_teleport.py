"""Teleporting against closed forms, measured tables and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.contrib.symmetry import _teleport
from tests.contrib.symmetry import problems

symmetry = jd.contrib.symmetry
PAIRS = symmetry.layer_pairs(problems.SLOPE)


def test_booth():
    """The best place is on the top eigenvector: each step then has a factor 0.1936."""
    with jax.enable_x64(True):
        start = jnp.array([5.0, -5.0])
        four = problems.descend(problems.booth, start, None, 0.08, 4)
        plain = problems.descend(problems.booth, four, None, 0.08, 6)
        moved, seen = jax.jit(
            lambda w: symmetry.teleport(
                problems.booth, w, problems.booth_rotation(), None, steps=50, cap=0.5
            )
        )(four)
        end = problems.descend(problems.booth, moved, None, 0.08, 6)
        before, after = (
            jnp.sum(jax.grad(problems.booth)(w) ** 2) for w in (four, moved)
        )
        losses = [float(problems.booth(w)) for w in (start, four, plain, end)]
        ratio = float(after / before)
    np.testing.assert_allclose(losses[:3], [144, 17.9482114, 2.20251699], rtol=1e-8)
    assert losses[3] == pytest.approx(losses[1] * 0.1936**6, rel=1e-4)
    assert float(seen.gradient_ratio) == pytest.approx(ratio, rel=1e-10)
    assert abs(float(seen.loss_change)) < 1e-12


def test_rosenbrock():
    """Ten teleports bring 0.11 to nothing; an exhaustive search finds as good ones."""

    def hundred_steps(w, _):
        w = problems.descend(problems.rosenbrock, w, None, 1e-3, 99)
        action = problems.rosenbrock_rotation()
        w, _ = symmetry.teleport(problems.rosenbrock, w, action, None, 20, 0.5)
        return problems.descend(problems.rosenbrock, w, None, 1e-3, 1), None

    with jax.enable_x64(True):
        start = jnp.array([-1.0, -1.0])
        plain = problems.descend(problems.rosenbrock, start, None, 1e-3, 999)
        half = jax.jit(lambda w: jax.lax.scan(hundred_steps, w, length=5)[0])(start)
    assert problems.rosenbrock(np.asarray(plain)) == pytest.approx(0.1115, rel=1e-3)
    assert problems.rosenbrock(np.asarray(half)) < 1e-10


def teleported(seeds, dtype):
    """Return the losses before and after, metrics, and losses at epoch 50."""

    def run(params, batch):
        loss = problems.square_loss
        five = problems.descend(loss, params, batch, 1e-4, 5)
        moved, seen = symmetry.teleport(loss, five, PAIRS, batch, steps=8, cap=0.05)
        ends = (problems.descend(loss, p, batch, 1e-4, 45) for p in (five, moved))
        losses = (loss(p, batch) for p in (five, moved, *ends))
        return jnp.stack([*losses]), seen

    cases = [problems.regression(seed, dtype) for seed in seeds]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    losses, seen = jax.jit(jax.vmap(run))(*stacked)
    return np.asarray(losses, np.float64), jax.tree.map(np.asarray, seen)


def test_the_loss_of_a_network_stays_in_float32():
    losses, seen = teleported(range(20), jnp.float32)
    change = losses[:, 1] / losses[:, 0] - 1
    assert np.max(abs(change)) <= 1.1e-6  # 1e-6 of the check, and its rounding
    np.testing.assert_allclose(seen.loss_change, change, atol=2e-7)
    assert np.all(seen.gradient_ratio > 1.1)


def test_the_regression_of_the_paper():
    with jax.enable_x64(True):
        losses, seen = teleported(range(5), jnp.float64)
    assert np.max(abs(losses[:, 1] / losses[:, 0] - 1)) < 1e-12
    assert np.all((1.3 < seen.gradient_ratio) & (seen.gradient_ratio < 1.9))
    plain, moved = losses[:, 2:].mean(axis=0)
    assert plain == pytest.approx(20.57, abs=0.01)
    assert 8.5 < moved < 9.5


def test_the_direction_is_that_of_the_steepest_growth():
    with jax.enable_x64(True):
        params, batch = problems.regression(3, jnp.float64)
        start = PAIRS.start(params)
        rng = np.random.default_rng(0)
        ways = [[jnp.asarray(rng.normal(size=x.shape)) for x in start] for _ in "abc"]

        @jax.jit
        def square_at(amount):
            moved = PAIRS.move(amount, params, batch)
            gradient = jax.grad(problems.square_loss)(moved, batch)
            return sum(jnp.sum(leaf**2) for leaf in gradient)

        def slope(way):
            there, back = (
                square_at([sign * 1e-5 * w for w in way]) for sign in (1, -1)
            )
            return float(there - back) / 2e-5

        view = jax.jit(
            lambda p: _teleport._view_from(problems.square_loss, p, PAIRS, batch)
        )(params)
        steepest = slope(view.direction)
        others = [slope(way) for way in ways]
        products = [
            sum(float(jnp.sum(x * y)) for x, y in zip(way, view.direction, strict=True))
            for way in ways
        ]
        norm = float(sum(jnp.sum(x**2) for x in view.direction))
    assert steepest > 0
    assert norm == pytest.approx(1)
    np.testing.assert_allclose(others, steepest * np.array(products), rtol=1e-4)


def in_the_plane(loss, action, start):
    return symmetry.teleport(loss, jnp.asarray(start), action, None, steps=4)


def test_isometries_and_minima_are_left_alone():
    identity = symmetry.rotation(jnp.copy, jnp.copy)

    def square(w, batch):
        del batch
        return jnp.sum(w**2)

    for start in ([3.0, 4.0], [0.0, 0.0]):
        moved, seen = in_the_plane(square, identity, start)
        np.testing.assert_allclose(jnp.sum(moved**2), np.sum(np.square(start)), 1e-6)
        assert seen.gradient_ratio == pytest.approx(1, rel=1e-5)
        assert seen.loss_change == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rate", [1.0, 1e38], ids=["finite", "overflow"])
def test_moves_that_change_the_loss_are_not_made(rate):
    scaling = symmetry.Action(
        start=lambda params: jnp.zeros(()),
        move=lambda amount, params, batch: params * (1 + rate * amount),
    )

    def square(w, batch):
        del batch
        return jnp.sum(w**2)

    moved, seen = in_the_plane(square, scaling, [3.0, 4.0])
    np.testing.assert_array_equal(moved, [3, 4])
    assert (seen.loss_change, seen.gradient_ratio) == (0, 1)


def test_it_runs_on_replicas():
    start = jnp.array([5.0, -5.0])
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    action = problems.booth_rotation()

    def run(w):
        return symmetry.teleport(problems.booth, w, action, None, cap=0.5)

    spec = jax.sharding.PartitionSpec()
    mapped = jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec)
    found, expected = jax.jit(mapped)(start), jax.jit(run)(start)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert expected[1].gradient_ratio > 1.5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32, jnp.complex64])
def test_parameters_in_which_no_change_of_the_loss_is_seen(dtype):
    params = {"w": jnp.ones(2, dtype)}
    with pytest.raises(TypeError, match="`params` must be real, .* got leaf 'w' of"):
        symmetry.teleport(problems.booth, params, problems.booth_rotation(), None)
