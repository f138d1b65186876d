"""Label flip."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


def test_mirrors_all_labels_and_twice_is_never():
    labels = jnp.arange(10, dtype=jnp.uint8).reshape(2, 5)
    flipped = jd.attacks.label_flip(labels, 10)
    assert flipped.dtype == labels.dtype
    np.testing.assert_array_equal(flipped, 9 - np.asarray(labels))
    np.testing.assert_array_equal(jd.attacks.label_flip(flipped, 10), labels)


def test_what_is_no_label_stays():
    np.testing.assert_array_equal(
        jd.attacks.label_flip(jnp.array([-1, 0, 3]), 3), [-1, 2, 3]
    )


@pytest.mark.parametrize("num_byzantine", [0, 1, 3, 4])
def test_only_the_last_workers_train_on_wrong_labels(num_byzantine):
    labels = jnp.tile(jnp.array([0, 1, 2]), 4)
    flipped = jd.attacks.label_flip(labels, 3, 4, num_byzantine).reshape(4, 3)
    for worker in range(4):
        wrong = worker >= 4 - num_byzantine
        np.testing.assert_array_equal(
            flipped[worker], [2, 1, 0] if wrong else [0, 1, 2]
        )


def test_the_batch_is_split_as_simulate_splits_it():
    """Two of three workers: what they learn is the other class."""

    def loss(params, label):
        return jnp.mean((params - label.astype(jnp.float32)) ** 2)

    tx = jd.aggregate("worker")
    init, step = jd.simulate(loss, tx, 3, "worker")
    labels = jd.attacks.label_flip(jnp.zeros(6, jnp.int32), 7, 3, 2)
    state, _ = step(init(jnp.zeros(())), labels)
    assert float(state.params) == pytest.approx(-2 * (0 + 6 + 6) / 3)


def test_arguments_are_checked():
    labels = jnp.arange(6)
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 2"):
        jd.attacks.label_flip(labels, 1)
    with pytest.raises(ValueError, match=r"`num_byzantine` must be in \[0, 3\], got 4"):
        jd.attacks.label_flip(labels, 6, 3, 4)
    with pytest.raises(ValueError, match=r"4 workers divide, got shape \(6,\)"):
        jd.attacks.label_flip(labels, 6, 4, 1)
    with pytest.raises(TypeError, match="`labels` must be integers, got float32"):
        jd.attacks.label_flip(jnp.ones(3), 6)
