"""CAT: the number of elements that is worth its bytes."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _cat
from tests import harness, statistics

SKEWED = np.random.default_rng(0).standard_t(2, 2000).astype(np.float32)
EVEN = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)


def chosen(vector, cost, mode="top_k"):
    compressor = jd.compression.cat(cost, mode, max_density=1.0)
    return int(harness.roundtrip(compressor, jnp.asarray(vector), 0)[1].kept)


def best_by_trying(vector, cost, mode):
    """Return the best number of elements, over all of them, in float64."""
    sizes = np.sort(np.abs(vector.astype(np.float64)))[::-1]
    squared = (sizes**2).sum()
    number = np.arange(1, len(sizes) + 1)
    bits = number * (int(np.ceil(np.log2(len(sizes)))) + 32)
    if mode == "top_k":
        gains = np.cumsum(sizes**2) / squared
    elif mode == "sign":
        bits = 32 + number * (int(np.ceil(np.log2(len(sizes)))) + 1)
        gains = np.cumsum(sizes) ** 2 / number / squared
    else:
        moments = [second_moment(sizes, budget) for budget in number]
        gains = squared / np.asarray(moments)
    return number[np.argmax(gains / cost(bits))]


def second_moment(descending, budget):
    """Return the least second moment of so many elements: water-filling by sorting."""
    tails = np.cumsum(descending[::-1])[::-1]
    ranks = np.arange(len(descending))
    first = np.argmax(descending * (budget - ranks) <= tails * (1 + 1e-12))
    return (descending[:first] ** 2).sum() + tails[first] ** 2 / (budget - first)


@pytest.mark.parametrize("mode", ["top_k", "sign", "stochastic"])
def test_is_the_best_of_all_numbers(mode):
    seen = chosen(SKEWED, jd.compression.AffineCost(), mode)
    exact = best_by_trying(SKEWED, lambda bits: bits / 8 + 64, mode)
    assert abs(seen - exact) <= 1


@pytest.mark.parametrize(("size", "largest"), [(20_000, 87), (2000, 95)])
def test_packets_are_filled(size, largest):
    """A packet of 512 bytes holds 87 elements of 32 + 15 bits, or 95 of 32 + 11."""
    for seed in range(3):
        vector = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
        number = chosen(vector, jd.compression.PacketCost())
        assert number % largest == 0 or number == size


def test_without_a_price_for_messages_one_element_is_best():
    assert chosen(SKEWED, jd.compression.AffineCost(per_message=0)) == 1
    assert chosen(EVEN, jd.compression.AffineCost(per_message=0)) == 1


def test_dear_messages_are_long():
    numbers = [
        chosen(SKEWED, jd.compression.AffineCost(1, c)) for c in (1, 64, 1e4, 1e9)
    ]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 1900  # the last percent is below what float32 resolves


def test_all_signs_of_a_flat_vector_are_scaled_sign():
    leaf = jnp.asarray(np.sign(EVEN[:100]))
    compressor = jd.compression.cat(
        jd.compression.AffineCost(1, 1e6), "sign", max_density=1.0
    )
    seen, state = harness.roundtrip(compressor, leaf)
    np.testing.assert_allclose(
        seen, harness.roundtrip(jd.compression.scaled_sign(), leaf)[0]
    )
    assert state.kept == 100


def test_sign_sends_the_mean_magnitude_of_the_largest():
    leaf = jnp.asarray([0.1, -4.0, 2.0, 0.1])
    compressor = jd.compression.cat(
        jd.compression.AffineCost(), "sign", max_density=0.75
    )
    seen, state = harness.roundtrip(compressor, leaf)
    assert state.kept == 2
    np.testing.assert_array_equal(seen, [0, -3, 3, 0])


def test_gain_of_uniform_magnitudes_is_the_share():
    ones = jnp.ones((1, 1, 50))
    share = np.arange(1, 51) / 50
    for gains in (_cat._top_k_gains, _cat._sign_gains, _cat._stochastic_gains):
        np.testing.assert_allclose(gains(ones, ones)[0, 0], share, rtol=1e-5)


def test_gain_of_drawing_is_one_over_the_second_moment():
    sizes = np.sort(np.abs(SKEWED[:300]))[::-1] / np.abs(SKEWED[:300]).max()
    everything = jnp.asarray(sizes).reshape(1, 1, -1)
    seen = _cat._stochastic_gains(everything[..., :100], everything)[0, 0]
    squared = (sizes.astype(np.float64) ** 2).sum()
    exact = [
        squared / second_moment(sizes.astype(np.float64), t) for t in range(1, 101)
    ]
    np.testing.assert_allclose(seen, exact, rtol=1e-4)


def test_drawn_variance_is_what_the_number_promises():
    compressor = jd.compression.cat(
        jd.compression.AffineCost(), "stochastic", max_density=0.5
    )
    leaf = jnp.asarray(SKEWED[:300])
    number = int(harness.roundtrip(compressor, leaf, 0)[1].kept)
    assert 1 < number < 150
    seen = statistics.draws(compressor, leaf, 4000)
    sizes = np.sort(np.abs(SKEWED[:300].astype(np.float64)))[::-1]
    moment = (seen**2).sum(axis=1).mean()
    assert moment == pytest.approx(second_moment(sizes, number), rel=0.03)


def test_state_counts_bytes_of_what_is_kept():
    leaf = jnp.asarray(SKEWED)
    _, state = harness.roundtrip(jd.compression.cat(max_density=0.2), leaf)
    assert state.nbytes == int(state.kept) * (11 + 32) / 8
    _, state = harness.roundtrip(jd.compression.cat(mode="sign", max_density=0.2), leaf)
    assert state.nbytes == (32 + int(state.kept) * (11 + 1)) / 8
    _, state = harness.roundtrip(
        jd.compression.cat(max_density=0.2, block_size=500), leaf
    )
    assert state.nbytes == int(state.kept) * (9 + 32) / 8


def test_room_limits_the_number():
    _, state = harness.roundtrip(
        jd.compression.cat(jd.compression.AffineCost(1, 1e6), max_density=0.1), EVEN
    )
    assert state.kept == 2000


def test_costs_of_bits():
    bits = jnp.asarray([8, 4096, 4097], jnp.uint32)
    np.testing.assert_array_equal(
        jd.compression.AffineCost(2, 3)(bits), [5, 1027, 1027.25]
    )
    np.testing.assert_array_equal(jd.compression.PacketCost()(bits), [640, 640, 1216])


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`mode` must be one of"):
        jd.compression.cat(mode="qsgd")
    with pytest.raises(TypeError, match="`cost` must be callable"):
        jd.compression.cat(3.0)
    with pytest.raises(ValueError, match="`max_density` must lie in"):
        jd.compression.cat(max_density=0)
    with pytest.raises(ValueError, match="`block_size` must be in"):
        jd.compression.cat(mode="stochastic", block_size=None)
    with pytest.raises(ValueError, match="`per_byte` must lie in"):
        jd.compression.AffineCost(per_byte=-1)
    with pytest.raises(ValueError, match="`payload` must be an integer >= 1"):
        jd.compression.PacketCost(payload=0)
