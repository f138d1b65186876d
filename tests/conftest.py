"""Eight CPU devices, strict dtypes and ranks, and the opt-in of the long tests."""

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
