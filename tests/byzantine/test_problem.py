"""How data are dealt, and a short training under attack."""

import jax
import numpy as np
import pytest

import jaxdist as jd
from benchmarks.byzantine import problem
from examples import datasets


def test_similarity_says_how_alike_the_workers_are():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    sorted_labels, mixed, alike = (
        [set(labels[part]) for part in problem.deal(labels, similarity, seed=0)]
        for similarity in (0.0, 0.5, 1.0)
    )
    assert [len(classes) for classes in sorted_labels] == [1] * problem.HONEST
    assert all(len(classes) == 10 for classes in mixed + alike)
    parts = problem.deal(labels, 0.5, seed=0)
    assert parts.shape == (problem.HONEST, 100)
    assert len(np.unique(parts)) == parts.size


def test_the_network_is_that_of_byzfl():
    params = problem.init(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 431_080
    images = np.zeros((3, 28, 28, 1), np.float32)
    assert problem.logits(params, images).shape == (3, 10)


@pytest.fixture
def trainer(monkeypatch):
    """Return what trains on ten classes whose images differ in one bright row."""
    monkeypatch.setattr(problem, "TESTED_EVERY", 2)
    labels = np.random.default_rng(0).integers(0, 10, 2000).astype(np.int32)
    images = np.zeros((2000, 28, 28, 1), np.float32)
    images[np.arange(2000), 2 * labels + 4] = 1.0
    data = datasets.Dataset(images, labels, images[:50], labels[:50])

    def trainer(attacks, steps):
        setting = problem.Setting(jd.rules.trimmed_mean(2), attacks, 2)
        return problem.trainer(data, setting, similarity=1.0, steps=steps)

    return trainer


@pytest.mark.slow
def test_trains_under_attack(trainer):
    accuracies = trainer([jd.attacks.sign_flip(of="mean")], steps=30)([0])
    assert accuracies.shape == (1, 1, 15)
    assert accuracies[..., -1] > 0.9


@pytest.mark.slow
def test_attacks_and_seeds_at_once_are_those_alone(trainer):
    attacks = [
        jd.attacks.sign_flip(of="mean"),
        jd.attacks.inner_product_manipulation(1.0),
    ]
    together = trainer(attacks, steps=2)([0, 1])
    alone = []
    for attack in attacks:
        train = trainer([attack], steps=2)
        alone.append([train([seed])[0, 0] for seed in (0, 1)])
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together)) > 1


def test_steps_must_be_a_multiple():
    setting = problem.Setting(jd.rules.mean(), [], 0)
    data = datasets.Dataset(*[np.zeros(1)] * 4)
    with pytest.raises(ValueError, match="`steps` must be a multiple of 50, got 10"):
        problem.trainer(data, setting, 1.0, steps=10)
