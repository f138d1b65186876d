"""The methods of the comparison with JAX."""

import jax
import numpy as np
import pytest

import jaxdist as jd
from benchmarks.network import compare, jax_worker, problem


def test_the_comparison_names_all_methods():
    assert compare.METHODS["jax"] == [jax_worker.BARE, *jax_worker.METHODS]
    assert compare.ROUNDS["jax"] == list(jax_worker.ROUNDS)


@pytest.mark.parametrize("method", jax_worker.ROUNDS)
def test_a_step_of_a_round_has_its_share_of_the_bytes(method):
    params = problem.initial_params("cnn", (8, 8, 1), 0)
    found = {
        steps: jax_worker.reported_bytes(
            problem.Job(
                *("jax", method, "cnn"),
                local_steps=steps,
                phases=(problem.Phase(None, 16, warm_up=0),),
            ),
            params,
        )
        for steps in (1, 8)
    }
    assert found[1] == 8 * found[8] > 0


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_hosts_gather_what_a_host_alone_pretends_to(num_hosts):
    params = problem.initial_params("cnn", (8, 8, 1), 0)
    tx = jax_worker.METHODS["trimmed mean of signs"](num_hosts)
    report = jd.communication_report(tx, params, num_hosts)
    compressed = [s for s in report.shipments if "sign" in s.compressor]
    assert {shipment.route for shipment in compressed} == {jax_worker.gather(1)}


def test_a_convolution_is_the_sum_that_it_stands_for():
    rng = np.random.default_rng(0)
    params = problem.initial_params("cnn", (4, 4, 1), 0)
    images = rng.standard_normal((2, 4, 4, 1)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    hidden = padded
    for name in ("0_conv", "1_conv"):
        size = (hidden.shape[1] - 2 + 1) // 2
        out = np.zeros((2, size, size, params[name]["bias"].size))
        for i in range(size):
            for j in range(size):
                patch = hidden[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                out[:, i, j] = np.einsum("nhwc,hwco->no", patch, params[name]["kernel"])
        hidden = np.pad(np.maximum(out, 0), ((0, 0), (1, 1), (1, 1), (0, 0)))
    flat = hidden[:, 1:-1, 1:-1].reshape(2, -1)
    flat = np.maximum(flat @ params["2_dense"]["kernel"], 0)
    expected = flat @ params["3_dense"]["kernel"]
    logits = jax_worker.forward(params, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("standard_promotion")
def test_a_bare_pmean_learns_as_a_dense_aggregate_does():
    job = problem.Job("jax", jax_worker.BARE, "cnn")
    mesh = jax.make_mesh((2,), (jax_worker.AXIS,))
    params = problem.initial_params("cnn", (4, 4, 1), 0)
    rng = np.random.default_rng(0)
    batch = (rng.random((4, 4, 4, 1), np.float32), np.arange(4, dtype=np.int32))
    bare_init, bare_step = jax_worker.bare(jax_worker.optimizer(job), mesh)
    tx = jax_worker.optimizer(problem.Job("jax", "dense", "cnn"))
    init, step = jd.data_parallel(jax_worker.loss, tx, mesh, jax_worker.AXIS)
    one, _ = bare_step(bare_init(params), batch)
    other, _ = step(init(params), batch)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
        one.params,
        other.params,
    )
