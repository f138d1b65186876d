"""The test of unbiasedness: no false alarms, and no bias goes unseen."""

import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from jaxdist.testing import _draws, _inputs, _mean_test, _run
from tests.testing import defects
from tests.testing.test_run import setting


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["unbiasedness"], **options)


@pytest.mark.parametrize("name", defects.BIASED)
def test_planted_defects_are_found(name):
    with pytest.raises(AssertionError, match="breaks 'unbiasedness': on .* over 10240"):
        check(defects.BIASED[name])


def test_statistics_are_standard_normal_without_bias():
    """So nothing of the power is lost but what the bound of the tail costs."""
    compressor, scores = defects.rounding(), []
    labels = _draws.class_labels(16, "normal")
    exact = labels.index("of the largest element, outward")
    for seed in range(300):
        chosen = setting(compressor, shape=(16,), seed=seed)
        sums = _draws.error_sums(chosen, "normal", 1)
        random = (sums.squares > 0) & (np.arange(len(labels)) != exact)
        scores.append(sums.totals[random] / np.sqrt(sums.squares[random]))
    scores = np.concatenate(scores)
    assert np.abs(scores.mean()) < 0.05
    assert scores.std() == pytest.approx(1, abs=0.03)
    assert np.mean(np.abs(scores) > 1.96) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    "compressor",
    [jd.compression.random_k(0.1), jd.compression.qsgd(2), defects.HONEST[2]],
    ids=str,
)
@pytest.mark.parametrize("kind", _inputs.SMOOTH)
def test_what_is_assumed_of_the_draws_is_so(compressor, kind):
    """For compressors that keep 5 % of the elements, or round to 3 levels."""
    chosen = setting(compressor, num_draws=10_000)
    log = _mean_test.alarm_level(1e-6, 500)
    fourth, second, number = 0.0, 0.0, 0
    for leaves, chunk in _draws.draw_chunks(chosen, kind, chosen.num_draws):
        keys = _run.many_steps(chosen.keys(7), len(leaves), chunk)
        drawn = _draws.normed_leaf(leaves, _run.seen_leaves(compressor, leaves, keys))
        weights = [weigh(drawn.leaves) for weigh in _draws.pool_classes(kind).values()]
        samples = [np.sum(weight * drawn.errors, axis=1) for weight in weights]
        samples = np.stack(samples, axis=1)
        if kind in _inputs.PER_ELEMENT:
            samples = np.concatenate([samples, drawn.errors], axis=1)
        second = second + np.sum(samples**2, axis=0)
        fourth = fourth + np.sum(samples**4, axis=0)
        number += len(samples)
    random = second / number > 1e-9
    kurtosis = number * fourth[random] / second[random] ** 2
    assert (kurtosis < _mean_test.largest_kurtosis(number, log)).all()


def test_the_sentence_says_what_where_and_how_sure():
    with pytest.raises(AssertionError) as caught:
        check(defects.BIASED["only_zero_elements"])
    sentence = str(caught.value)
    for part in (
        "zero breaks 'unbiasedness': on a",
        "leaf of float32[61]",
        "the mean error of the elements that are zero is ",
        "beyond its bound",
        "over 10240 draws",
        "with a probability of at most 1e-06",
    ):
        assert part in sentence


def test_rounding_of_float32_is_no_bias():
    shrunk = defects.decoding(
        jd.compression.identity(),
        lambda x: x * np.asarray(1 - 2e-7, x.dtype),
        "rounded",
    )
    check(shrunk)
