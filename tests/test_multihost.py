"""Processes die, hang and are told to stop, and the training ends as if none had."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from benchmarks.network import hosts as network_hosts
from tests import harness
from tests.network.marks import needs_hosts
from tests.recipes import problem

pytestmark = [pytest.mark.xdist_group("processes"), pytest.mark.slow]
ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PATIENCE = 240  # seconds for anything at all; never reached
STEPS, EVERY = 40, 4


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Hosts:
    """Processes that train together, and what they print."""

    def __init__(self, folder, number=2, steps=STEPS, timeout=60, network=None):
        """Start them, here or each on a host of a network."""
        self.network = network
        self.logs = [folder / f"process{i}.log" for i in range(number)]
        self.processes = [
            self.start(i, folder, number, port, steps, timeout)
            for port in [free_port()]
            for i in range(number)
        ]

    def start(self, index, folder, number, port, steps, timeout):
        """Start one."""
        options = {
            "directory": folder / "checkpoints",
            "steps": steps,
            "every": EVERY,
            "timeout": timeout,
            "coordinator": f"{self.address}:{port}",
            "processes": number,
            "process": index,
        }
        words = [str(word) for k, v in options.items() for word in (f"--{k}", v)]
        program = [sys.executable, "-W", "error", str(EXAMPLES / "multihost.py")]
        command = [*program, *words]
        if self.network is not None:
            command = self.network.hosts[index].command(*command)
        with self.logs[index].open("w") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def address(self):
        """Return where process 0 listens."""
        return "127.0.0.1" if self.network is None else self.network.hosts[0].address

    def __enter__(self):
        """Return them all."""
        return self

    def __exit__(self, *error):
        """End those that are still there."""
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for(self, text, index=0):
        """Return when a process has printed this."""
        end = time.monotonic() + PATIENCE
        while text not in self.logs[index].read_text():
            assert self.processes[index].poll() is None, self.said(index)
            assert time.monotonic() < end, self.said(index)
            time.sleep(0.01)

    def send(self, name, *indices):
        """Send a signal to some."""
        for index in indices:
            self.processes[index].send_signal(name)

    def code(self, index):
        """Return with what a process has ended."""
        return self.processes[index].wait(timeout=PATIENCE)

    def said(self, index):
        """Return what a process has printed so far."""
        return self.logs[index].read_text()

    def fingerprint(self):
        """Return the bits in which all processes ended, well."""
        found = set()
        for i in range(len(self.processes)):
            assert self.code(i) == 0, self.said(i)
            found.add(re.search(r"fingerprint (\w{16})", self.said(i))[1])
        (bits,) = found
        return bits


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    with Hosts(tmp_path_factory.mktemp("uninterrupted")) as hosts:
        return hosts.fingerprint()


def kill(folder, victim, step, **named):
    """Kill one process at a step, and see the other leave with an explanation."""
    with Hosts(folder, **named) as hosts:
        hosts.wait_for(f"step {step} ")
        hosts.send(signal.SIGKILL, victim)
        survivor = 1 - victim
        assert hosts.code(survivor) != 0, hosts.said(survivor)
        # When process 0 is gone, JAX may be the first to say so.
        said = hosts.said(survivor)
        assert "start all processes again" in said or "another task died" in said


def test_a_run_whose_hosts_were_killed_ends_in_the_same_bits(uninterrupted, tmp_path):
    kill(tmp_path, victim=1, step=6)
    kill(tmp_path, victim=0, step=12)
    with Hosts(tmp_path) as hosts:
        assert hosts.fingerprint() == uninterrupted
        first = int(re.search(r"step (\d+) ", hosts.said(0))[1])
        assert first in (5, 9, 13)  # after the last checkpoint that was complete


def test_sigterm_and_a_host_that_hangs(uninterrupted, tmp_path):
    with Hosts(tmp_path) as hosts:
        hosts.wait_for("step 2 ")
        hosts.send(signal.SIGTERM, 0, 1)
        hosts.fingerprint()
        stopped = int(re.search(r"saved step (\d+)", hosts.said(0))[1])
    assert 2 <= stopped < STEPS
    with Hosts(tmp_path, timeout=5) as hosts:
        hosts.wait_for(f"step {stopped + 1} ")
        hosts.send(signal.SIGSTOP, 1)
        assert hosts.code(0) == 1, hosts.said(0)
        assert "a process hangs or a link is down" in hosts.said(0)
    with Hosts(tmp_path) as hosts:
        assert hosts.fingerprint() == uninterrupted
        assert int(re.search(r"step (\d+) ", hosts.said(0))[1]) > stopped


@needs_hosts
def test_a_link_that_goes_down(uninterrupted, tmp_path):
    with (
        network_hosts.connected(2, "10mbit") as network,
        Hosts(tmp_path, timeout=5, network=network) as hosts,
    ):
        hosts.wait_for("step 6 ")
        network.cut(1)
        start = time.monotonic()
        for i in range(2):
            assert hosts.code(i) == 1, hosts.said(i)
            assert "a process hangs or a link is down" in hosts.said(i)
        assert time.monotonic() - start < 30
    with Hosts(tmp_path) as hosts:
        assert hosts.fingerprint() == uninterrupted


@pytest.mark.demo
def test_ten_random_kills_end_in_the_same_bits(tmp_path):
    steps, rng = 60, np.random.default_rng(0)
    (tmp_path / "whole").mkdir()
    with Hosts(tmp_path / "whole", steps=steps) as hosts:
        expected = hosts.fingerprint()
    for step in np.sort(rng.choice(np.arange(1, steps - 2), 10, replace=False)):
        kill(tmp_path, victim=int(rng.integers(2)), step=step, steps=steps)
    with Hosts(tmp_path, steps=steps) as hosts:
        assert hosts.fingerprint() == expected


@pytest.mark.demo
def test_four_hosts_then_three_then_four(tmp_path):
    losses = []
    for number, steps in ((4, 20), (3, 40), (4, 60)):
        with Hosts(tmp_path, number=number, steps=steps) as hosts:
            hosts.fingerprint()
            steps_and_losses = re.findall(r"step (\d+) loss ([\d.]+)", hosts.said(0))
            assert int(steps_and_losses[0][0]) == steps - 19
            losses += [float(loss) for _, loss in steps_and_losses]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def owed(state):
    """Return what the workers together still owe the optimizer, leaf by leaf."""
    uplink = state.opt_state[0].uplink.inner_state
    return {
        name: np.asarray(leaf.residual).mean(axis=0) for name, leaf in uplink.items()
    }


@pytest.mark.usefixtures("standard_promotion")
def test_other_numbers_of_workers_owe_the_same(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import checkpoints

    tx = optax.chain(
        jd.aggregate(
            "data", compressor=jd.compression.error_feedback(jd.compression.top_k(0.1))
        ),
        optax.adam(0.01),
    )
    batch = jax.tree.map(lambda leaf: leaf[:48], problem.BATCH)
    before, place = None, 0
    for workers in (4, 3, 4):
        mesh = jax.make_mesh((workers,), ("data",), devices=jax.devices()[:workers])
        init, step = jd.data_parallel(problem.loss, tx, mesh, "data")
        with checkpoints.Checkpoints(tmp_path) as saved:
            state, found = saved.restore(init(problem.PARAMS), tx, mesh, "data")
            assert found == place
            if before is not None:
                harness.assert_trees_close(owed(state), owed(before), 1e-6, 1e-7)
                harness.assert_trees_equal(state.params, before.params)
                harness.assert_trees_equal(state.opt_state[1], before.opt_state[1])
            for _ in range(3):
                state, metrics = step(state, batch)
            place += 3
            saved.save(state, place, workers)
        assert max(np.abs(leaf).max() for leaf in owed(state).values()) > 0
        assert np.isfinite(metrics["loss"])
        before = jax.device_get(state)


@pytest.mark.usefixtures("standard_promotion")
def test_keys_and_scalars_are_restored_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import checkpoints

    tx = optax.chain(
        jd.aggregate("data", compressor=jd.compression.random_k(0.5), key=7)
    )
    mesh = harness.make_mesh()
    init, step = jd.data_parallel(problem.loss, tx, mesh, "data")
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    with checkpoints.Checkpoints(tmp_path) as saved:
        saved.save(state, 1, 8)
    other = jd.data_parallel(problem.loss, tx, mesh, "data")[0](
        jax.tree.map(jnp.ones_like, problem.PARAMS)
    )
    with checkpoints.Checkpoints(tmp_path) as saved:
        restored, place = saved.restore(other, tx, mesh, "data")
    assert place == 1
    harness.assert_trees_equal(restored, state)
    for left, right in zip(*map(jax.tree.leaves, (restored, state)), strict=True):
        assert left.sharding == right.sharding
