"""Eight CPU devices; every benchmark records what it ran on."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_cpu_enable_async_dispatch", False)


@pytest.fixture
def measure(benchmark):
    """Time a function of arrays, compiled and warm, until its results are there."""

    def run(fn, *arrays, group, reference=False, rounds=20, **extra):
        jax.block_until_ready(fn(*arrays))
        benchmark.group = group
        benchmark.extra_info.update(
            extra,
            reference=reference,
            shapes=[list(a.shape) for a in jax.tree.leaves(arrays)],
            device=jax.devices()[0].device_kind,
            jax=jax.__version__,
        )
        benchmark.pedantic(
            lambda: jax.block_until_ready(fn(*arrays)),
            rounds=rounds,
            warmup_rounds=2,
        )

    return run
