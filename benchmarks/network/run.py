"""Run one job: one process per host, and what they and the kernel measured.

python -m benchmarks.network.run --method "signs both ways" --phases 100mbit:12
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.network import hosts, loop, problem
from examples import datasets

ROOT = pathlib.Path(__file__).parents[2]
POLL = 0.2  # seconds
LOG_CHARS = 3000  # that an error shows of a host's log
HEADER = 66  # bytes: Ethernet 14, IP 20, TCP 20, its time stamps 12


class Limits:
    """How long the processes of a job may run, and how much each may send."""

    def __init__(self, seconds: float = 300, gigabytes: float = 10):
        """Start the clock."""
        self.seconds, self.gigabytes = seconds, gigabytes
        self._start = time.monotonic()

    def check(self, processes: Sequence[subprocess.Popen]) -> None:
        """Raise when the processes have used up what they may."""
        if time.monotonic() - self._start > self.seconds:
            raise RuntimeError(f"The hosts did not end within {self.seconds:g} s.")
        for process in processes:
            with contextlib.suppress(OSError, ValueError):
                sent = loop.counters(hosts.INTERFACE, process.pid).sent_bytes
                if sent > self.gigabytes * 1e9:
                    raise RuntimeError(f"A host sent more than {self.gigabytes:g} GB.")


class Gatekeeper:
    """Sets the rate of the links for each phase, once all hosts wait for it."""

    def __init__(self, job: problem.Job, folder: pathlib.Path, network: hosts.Network):
        """Take charge of the links of a job's network."""
        self._job, self._gate, self._network = job, loop.Gate(folder), network
        self._next = 0

    def serve(self) -> None:
        """Begin the next phase if all are ready."""
        if self._next == len(self._job.phases):
            return
        if self._gate.all_ready(self._next, self._job.hosts):
            self._network.limit(self._job.phases[self._next].rate)
            self._gate.open(self._next)
            self._next += 1


def run(
    job: problem.Job,
    dataset: datasets.Dataset,
    interpreters: dict[str, str],
    seconds: float = 300,
    gigabytes: float = 10,
) -> dict:
    """Return what a job came to, ready for JSON.

    Args:
      job: What to do.
      dataset: What to learn.
      interpreters: Maps the name of a library to the Python that has it.
      seconds: Time for all of it; then the hosts are ended.
      gigabytes: The most that a host may send.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        hosts.connected(job.hosts) as network,
    ):
        folder = pathlib.Path(name)
        job.save(folder)
        save_data(dataset, folder)
        commands = [
            host.command(
                *(interpreters[job.library], "-W", "ignore", "-m"),
                *(f"benchmarks.network.{job.library}_worker", name, str(i)),
                network.hosts[0].address,
            )
            for i, host in enumerate(network.hosts)
        ]
        keeper = Gatekeeper(job, folder, network)
        launch(commands, folder, Limits(seconds, gigabytes), keeper)
        found = [
            json.loads((folder / f"host{i}.json").read_text()) for i in range(job.hosts)
        ]
    return dataclasses.asdict(job) | merge(job, found)


def on_hosts(
    module: str, options: dict, num_hosts: int, rate: str | None, seconds: float
) -> list[dict]:
    """Run ``python -m module worker FOLDER INDEX ADDRESS`` on each host.

    The folder has the options, as ``options.json``; what a host saves is returned.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        hosts.connected(num_hosts, rate) as network,
    ):
        folder = pathlib.Path(name)
        (folder / "options.json").write_text(json.dumps(options))
        words = [sys.executable, "-W", "ignore", "-m", module, "worker", name]
        address = network.hosts[0].address
        commands = [
            host.command(*words, str(i), address)
            for i, host in enumerate(network.hosts)
        ]
        launch(commands, folder, Limits(seconds))
        return [
            json.loads((folder / f"host{i}.json").read_text()) for i in range(num_hosts)
        ]


def save_data(dataset: datasets.Dataset, folder: pathlib.Path) -> None:
    """Write the data where the hosts look for it, a byte per pixel."""
    arrays = dataset._asdict()
    for name in ("train_images", "test_images"):
        arrays[name] = np.round(arrays[name] * 255).astype(np.uint8)
    np.savez(folder / "data.npz", **arrays)


def launch(
    commands: Sequence[Sequence[str]],
    folder: pathlib.Path,
    limits: Limits,
    keeper: Gatekeeper | None = None,
) -> None:
    """Run the commands side by side to their end; when one fails, end the others."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    processes = []
    logs = [folder / f"host{i}.log" for i in range(len(commands))]
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("w") as file:
                processes.append(
                    subprocess.Popen(
                        command, stdout=file, stderr=file, env=environment, cwd=ROOT
                    )
                )
        wait(processes, limits, keeper)
    except RuntimeError as error:
        tails = "\n".join(
            f"--- {log.name}\n{log.read_text()[-LOG_CHARS:]}" for log in logs
        )
        raise RuntimeError(f"{error}\n{tails}") from None
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait(
    processes: Sequence[subprocess.Popen],
    limits: Limits,
    keeper: Gatekeeper | None = None,
) -> None:
    """Wait until all have ended well."""
    while True:
        codes = [process.poll() for process in processes]
        for i, code in enumerate(codes):
            if code:
                raise RuntimeError(f"Host {i} ended with code {code}.")
        if None not in codes:
            return
        limits.check(processes)
        if keeper is not None:
            keeper.serve()
        time.sleep(POLL)


def merge(job: problem.Job, found: Sequence[dict]) -> dict:
    """Make one record of what each host measured."""
    phases = zip(job.phases, *(host["phases"] for host in found), strict=True)
    return {
        "version": found[0]["version"],
        "num_params": found[0]["num_params"],
        "reported_bytes": found[0].get("reported_bytes"),
        "phases": [merge_phase(phase, of_hosts) for phase, *of_hosts in phases],
        "load_average": round(os.getloadavg()[0], 2),
    }


def merge_phase(phase: problem.Phase, found: Sequence[dict]) -> dict:
    """Make one record of what each host measured in a phase."""
    steps = phase.steps - phase.warm_up
    # A step is over when it is over on all hosts.
    seconds = np.max([host["seconds"] for host in found], axis=0)
    cpu_seconds = np.max([host["cpu_seconds"] for host in found], axis=0)
    losses = np.mean([host["losses"] for host in found], axis=0)
    tested = sum(host["tested"] for host in found)
    accuracies = [
        [of_hosts[0][0], sum(right for _, right in of_hosts) / tested]
        for of_hosts in zip(*(host["correct"] for host in found), strict=True)
    ]
    sent = [host["counters"]["sent_bytes"] / steps for host in found]
    packets = [host["counters"]["sent_packets"] / steps for host in found]
    return {
        **dataclasses.asdict(phase),
        "median_seconds": round(float(np.median(seconds[phase.warm_up :])), 6),
        "median_cpu_seconds": round(float(np.median(cpu_seconds[phase.warm_up :])), 6),
        "seconds": [round(float(second), 5) for second in seconds],
        "losses": [round(float(loss), 5) for loss in losses],
        "accuracies": accuracies,
        "sent_bytes": statistics.mean(sent),
        "header_bytes": HEADER * statistics.mean(packets),
        "sent_bytes_of_hosts": sent,
    }


def load_dataset(directory: str | None) -> tuple[str, datasets.Dataset]:
    """Return Fashion-MNIST where it is there, else digits; and its name."""
    try:
        return "fashion-mnist", datasets.load("fashion-mnist", directory)
    except SystemExit as absent:
        if directory is not None:
            raise
        print(f"{absent}\nDigits will do.", file=sys.stderr)
        return "digits", datasets.load("digits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script here needs to know."""
    parser.add_argument("--data-dir", help="where the files of Fashion-MNIST are")
    parser.add_argument("--torch", help="Python of the peers' environment")


def interpreters(torch: str | None) -> dict[str, str]:
    """Return the Python of each library; a link must stay one."""
    found = {"jax": sys.executable}
    if torch:
        found |= dict.fromkeys(("torch", "torchft"), os.path.abspath(torch))
    return found


def phase_of(words: str) -> problem.Phase:
    """Read a phase: its rate, its steps, and perhaps after how many to evaluate.

    Such as ``none:100:10`` or ``100mbit:12``.
    """
    rate, steps, *evaluate_every = words.split(":")
    if rate != "none":
        hosts.bits_per_second(rate)
    return problem.Phase(
        None if rate == "none" else rate,
        int(steps),
        evaluate_every=int(evaluate_every[0]) if evaluate_every else 0,
    )


def in_rounds(phases: Sequence[problem.Phase], local_steps: int) -> list[problem.Phase]:
    """Return phases whose first round is not timed, where there are rounds."""
    if local_steps == 1:
        return list(phases)
    return [dataclasses.replace(phase, warm_up=local_steps) for phase in phases]


def main() -> None:
    """Run the job of the command line, and print its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=("jax", "torch", "torchft"), default="jax")
    parser.add_argument("--method", default="dense")
    parser.add_argument("--model", choices=problem.MODELS, default="mlp")
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--local-steps", type=int, default=1)
    parser.add_argument(
        "--phases",
        nargs="+",
        type=phase_of,
        default=[problem.Phase()],
        help="RATE:STEPS or RATE:STEPS:EVALUATE_EVERY, such as 100mbit:12",
    )
    add_arguments(parser)
    options = vars(parser.parse_args())
    data_dir, torch = options.pop("data_dir"), options.pop("torch")
    options["phases"] = tuple(in_rounds(options["phases"], options["local_steps"]))
    require_hosts()
    _, dataset = load_dataset(data_dir)
    record = run(problem.Job(**options), dataset, interpreters(torch))
    print(json.dumps(record, indent=1))


def require_hosts() -> None:
    """End with the reason when there cannot be hosts here."""
    why_not = hosts.missing()
    if why_not:
        raise SystemExit(f"There cannot be hosts here: {why_not}.")


if __name__ == "__main__":
    main()
