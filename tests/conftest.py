"""Eight CPU devices, strict dtypes and ranks, and the opt-in of the long tests."""

import os

# Compiling is most of the time of these tests. The older emitters of fusions take half
# of it, with all optimisations of LLVM and its surprises (a maximum over a long row
# still drops NaN). `XLA_FLAGS= make unit` runs on the newer ones.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# With more devices than cores, steps dispatched ahead wait for each other for ever.
jax.config.update("jax_cpu_enable_async_dispatch", False)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def standard_promotion():
    """Optax's own transformations mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--demo", action="store_true", help="run the tests that train for minutes"
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--demo"):
        return
    skip = pytest.mark.skip(reason="trains for minutes: opt in with --demo")
    for item in items:
        if "demo" in item.keywords:
            item.add_marker(skip)
