"""Compare `power_sgd` with torch's hook: trajectories, seconds, and bad gradients.

python benchmarks/peers/power_sgd.py .venv-peers/bin/python

Both run in two processes on this machine that talk over gloo, and start from the same
Q. The distance of each from the same algorithm in float64 says whose rounding a
difference is.
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
TIMEOUT = 300  # seconds for either side
WORKERS, STEPS = 2, 12
# Of a small convolutional network, as torch shapes them: [out, rest].
SHAPES = {
    "conv1": (16, 1, 3, 3),
    "bias1": (16,),
    "conv2": (32, 16, 3, 3),
    "bias2": (32,),
    "dense1": (64, 512),
    "dense2": (64, 64),
    "dense3": (64, 64),
    "head": (10, 64),
}
LARGE = {"matrix": (2500, 4000)}


def problem() -> dict:
    """Return the gradients of all cases, and where Q starts."""
    rng = np.random.default_rng(0)
    out = {}
    for rank in (1, 2, 4):
        out |= _case(f"rank {rank}", rank, SHAPES, rng)
    out |= _case("10M elements, rank 4", 4, LARGE, rng)
    out |= _case("frozen", 2, SHAPES, rng)
    out["frozen/gradient/dense2"][:] = 0
    out |= _case("nan", 2, SHAPES, rng)
    out["nan/gradient/dense2"][0, 3, 0, 0] = np.nan
    return out


def _case(case, rank, shapes, rng):
    """Return gradients of rank 8 and noise: ``[workers, steps, *shape]``."""
    out = {f"{case}/rank/all": np.array(rank)}
    for name, shape in shapes.items():
        rows, columns = shape[0], int(np.prod(shape[1:]))
        lead = (WORKERS, STEPS)
        common = rng.standard_normal((rows, 8)) @ rng.standard_normal((8, columns))
        noise = rng.standard_normal((*lead, rows, columns), np.float32)
        leaf = (common / 8**0.5 + noise / 2).reshape(*lead, *shape)
        out[f"{case}/gradient/{name}"] = leaf.astype(np.float32)
        if rank * (rows + columns) < rows * columns and len(shape) > 1:
            right = rng.standard_normal((columns, rank))
            out[f"{case}/right/{name}"] = right.astype(np.float32)
    return out


def main() -> None:
    """Run both sides, and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="interpreter of the peers' environment")
    peers = os.path.abspath(parser.parse_args().python)
    with tempfile.TemporaryDirectory() as folder:
        given = problem()
        np.savez(f"{folder}/problem.npz", **given)
        _run([[peers, "power_sgd_theirs.py", folder]])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
        ours = [sys.executable, "power_sgd_ours.py", folder, coordinator]
        _run([[*ours, str(index)] for index in range(WORKERS)])
        theirs = dict(np.load(f"{folder}/theirs.npz"))
        _show(given, theirs, dict(np.load(f"{folder}/ours.npz")))


def _run(commands):
    """Run processes side by side, and stop those that do not end."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    processes = [
        subprocess.Popen(command, cwd=HERE, env=environment) for command in commands
    ]
    try:
        codes = [process.wait(TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        raise SystemExit(f"A process failed: {commands}, {codes}.")


def _show(given, theirs, ours):
    print(
        "| gradients | ours to torch | torch to float64 | ours to float64 "
        "| torch, ms | ours, ms | faster |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in dict.fromkeys(path.split("/")[0] for path in ours):
        if case in ("frozen", "nan"):
            continue
        slow, fast = (np.median(x[f"{case}/seconds/all"]) for x in (theirs, ours))
        exact = _exact(given, case)
        print(
            f"| {case} | {_difference(ours, theirs, exact):.1e} "
            f"| {_difference(theirs, exact, exact):.1e} "
            f"| {_difference(ours, exact, exact):.1e} "
            f"| {slow * 1e3:.1f} | {fast * 1e3:.1f} | {slow / fast:.1f}x |"
        )
    print("\n| gradients | finite steps, torch | ours |\n|---|---|---|")
    for case, what in (("frozen", "one leaf always zero"), ("nan", "one NaN, step 4")):
        print(f"| {what} | {_finite(case, theirs)} | {_finite(case, ours)} |")


def _exact(given, case):
    """Return the means of all compressed leaves by Algorithm 1 in float64."""
    out = {}
    prefix = f"{case}/right/"
    for path in (path for path in given if path.startswith(prefix)):
        name = path.removeprefix(prefix)
        right = given[path].astype(np.float64)
        residual = np.zeros(())
        means = []
        for step in range(STEPS):
            leaf = given[f"{case}/gradient/{name}"][:, step]
            wanted = leaf.reshape(*leaf.shape[:2], -1).astype(np.float64) + residual
            left, _ = np.linalg.qr((wanted @ right).mean(axis=0))
            right = (wanted.swapaxes(1, 2) @ left).mean(axis=0)
            means.append(left @ right.T)
            residual = wanted - means[-1]
        out[f"{case}/mean/{name}"] = np.stack(means)
    return out


def _difference(one, other, exact):
    """Return the largest relative difference of a leaf at a step, in norm."""
    worst = 0.0
    for path, mean in exact.items():
        apart = (one[path].reshape(mean.shape) - other[path].reshape(mean.shape)).T
        norms = (np.linalg.norm(x, axis=(0, 1)) for x in (apart, mean.T))
        worst = max(worst, np.max(np.divide(*norms)))
    return worst


def _finite(case, side):
    """Return which of the steps were finite in all leaves."""
    leaves = [v for path, v in side.items() if path.startswith(f"{case}/mean/")]
    steps = [all(np.isfinite(leaf[i]).all() for leaf in leaves) for i in range(STEPS)]
    return f"{sum(steps)} of {STEPS}"


if __name__ == "__main__":
    main()
