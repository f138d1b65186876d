"""What all libraries learn alike."""

import jax
import numpy as np
import pytest

from benchmarks.network import problem


@pytest.mark.parametrize(("model", "millions"), [("mlp", 10.0), ("cnn", 1.7)])
def test_models_have_the_sizes_of_the_comparison(model, millions):
    params = problem.initial_params(model, (28, 28, 1), 0)
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    assert round(size / 1e6, 1) == millions


def test_parameters_depend_on_the_seed_only():
    one, same, other = (problem.initial_params("cnn", (8, 8, 1), s) for s in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert not np.array_equal(one["0_conv"]["kernel"], other["0_conv"]["kernel"])
    assert one["2_dense"]["kernel"].shape == (2 * 2 * 64, 544)


def test_every_image_is_seen_once_in_an_epoch():
    job = problem.Job("jax", "dense", phases=(problem.Phase(steps=5),), batch_size=4)
    rows = problem.batch_indices(10, job)
    assert rows.shape == (5, 4)
    for epoch in rows.reshape(2, 10):
        assert sorted(epoch) == list(range(10))


def test_hosts_share_all_rows():
    rows = np.arange(12)
    parts = [problem.share(rows, i, 3) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_jobs_survive_their_journey(tmp_path):
    phases = (problem.Phase("1gbit", 7, 2), problem.Phase(None, 5, 1, 5))
    job = problem.Job("torch", "fp16 hook", "cnn", alone=True, phases=phases)
    job.save(tmp_path)
    assert problem.Job.load(tmp_path) == job
    assert (job.steps, job.world) == (12, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "rnn"}, "`model` must be one of .*'rnn'"),
        ({"batch_size": 10, "hosts": 4}, "`batch_size` must be a multiple.*10 and 4"),
        ({"hosts": 0}, "`batch_size` must be a multiple of `hosts`"),
        ({"phases": (problem.Phase(steps=3, warm_up=3),)}, "`warm_up` must lie.* 3 of"),
        ({"local_steps": 8}, r"multiples of `local_steps`, got \(12, 4, 0\) and 8"),
    ],
)
def test_jobs_that_cannot_be_done_say_why(options, message):
    with pytest.raises(ValueError, match=message):
        problem.Job("jax", "dense", **options)
