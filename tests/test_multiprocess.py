"""Two processes with two devices each agree with one process that simulates them."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxdist as jd
from tests import multiprocess_cases as cases
from tests.recipes import problem

# One worker of pytest-xdist runs them all, so that the processes start only once.
pytestmark = [pytest.mark.xdist_group("processes"), pytest.mark.slow]
ROOT = pathlib.Path(__file__).parent.parent
TIMEOUT = 300  # seconds


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run both processes, and return what each of them saw."""
    target = tmp_path_factory.mktemp("processes")
    coordinator = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.multiprocess_worker"),
                *(coordinator, str(i), str(target)),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return [dict(np.load(target / f"process{i}.npz")) for i in range(2)]


def test_both_processes_hold_the_same_bits(results):
    first, second = results
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("name", cases.TRANSFORMATIONS)
def test_aggregate_agrees_with_the_simulation(results, name):
    simulated = jax.jit(
        jax.vmap(
            lambda sequence: cases.worker(cases.TRANSFORMATIONS[name], sequence),
            axis_name=cases.AXIS,
        )
    )(cases.updates())
    for check_vma in (True, False):
        for leaf, value in simulated.items():
            np.testing.assert_allclose(
                results[0][f"{name}/{check_vma}/{leaf}"],
                value[0],
                rtol=1e-5,
                atol=1e-6,
            )


def test_training_agrees_with_the_simulation(results):
    init, step = jd.simulate(problem.loss, cases.TX, cases.NUM_WORKERS, cases.AXIS)
    state = init(problem.PARAMS)
    for _ in range(cases.STEPS):
        state, _ = step(state, problem.BATCH)
    for leaf, value in state.params.items():
        np.testing.assert_allclose(
            results[0][f"trained/{leaf}"], value, rtol=1e-4, atol=1e-5
        )


def test_both_processes_hear_of_replicas_that_differ(results):
    for result in results:
        message = str(result["drifted"])
        assert "leaf 'bad' on device" in message and "'good'" not in message
        assert "of process 1" in message and "of process 0" not in message
