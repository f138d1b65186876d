"""How long programs take to compile, with many workers and with many leaves.

python benchmarks/compile_time.py

Prints the tables of docs/benchmarks.md. Times are seconds of the processor to trace and
compile a step, each in a process of its own.
"""

import argparse
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxdist as jd

AXIS, COLUMNS, DEVICES = "data", 4096, 8
RULES = {
    "mean": lambda f: jd.rules.mean(),
    "trimmed_mean": jd.rules.trimmed_mean,
    "median": lambda f: jd.rules.median(),
    "krum": jd.rules.krum,
    "multi_krum": jd.rules.multi_krum,
    "nnm, trimmed_mean": lambda f: jd.rules.nnm(f, then=jd.rules.trimmed_mean(f)),
}
METRICS = "trimmed_mean, metrics"
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
SPARSE = jd.compression.error_feedback(jd.compression.top_k(0.01))
AGGREGATIONS = {
    "bare pmean": None,
    "dense": lambda: jd.aggregate(AXIS),
    "int8": lambda: jd.aggregate(AXIS, compressor=jd.compression.blockwise_int(8)),
    "signs both ways": lambda: jd.aggregate(AXIS, compressor=SIGN, downlink=SIGN),
    "top-1 %": lambda: jd.aggregate(AXIS, compressor=SPARSE),
    "trimmed mean": lambda: jd.aggregate(AXIS, jd.rules.trimmed_mean(1)),
}
SHAPES = ((64, 64), (64,), (64, 256), (256,), (256, 64), (64, 192), (192,))


def simulated(name, num_workers):
    """Return the step of simulated workers, and its arguments."""
    rule = RULES[name.removesuffix(", metrics")](num_workers // 4)
    tx = jd.aggregate(AXIS, rule, metrics=name == METRICS)
    gradients = jnp.ones((num_workers, COLUMNS))
    init = jax.jit(jax.vmap(tx.init, axis_name=AXIS))
    return jax.vmap(tx.update, axis_name=AXIS), (gradients, init(gradients))


def on_devices(name, num_leaves):
    """Return the step of eight devices with so many leaves, and its arguments."""
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(AxisType.Auto,))
    leaves = {
        f"layer{i:03}": jnp.zeros(SHAPES[i % len(SHAPES)]) for i in range(num_leaves)
    }
    if AGGREGATIONS[name] is None:
        step = jax.shard_map(
            lambda tree: jax.lax.pmean(tree, AXIS),
            mesh=mesh,
            in_specs=P(),
            out_specs=P(),
            check_vma=False,
        )
        return step, (leaves,)
    tx = AGGREGATIONS[name]()
    specs = P(), jd.state_specs(tx, leaves, AXIS)
    step = jax.shard_map(
        tx.update, mesh=mesh, in_specs=specs, out_specs=specs, check_vma=False
    )
    return step, (leaves, jd.init(tx, leaves, mesh, AXIS))


def measure(make, name, number):
    """Print the seconds of the processor, and the megabytes of temporaries."""
    step, arguments = make(name, number)
    begin = time.process_time()
    program = jax.jit(step).lower(*arguments).compile()
    seconds = time.process_time() - begin
    print(seconds, program.memory_analysis().temp_size_in_bytes / 1e6)


def in_a_process(*words):
    """Return what `measure` prints in a process of its own."""
    command = [sys.executable, __file__, "--one", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return map(float, result.stdout.split())


def print_table(kind, names, numbers, unit):
    """Print a row for each name."""
    print(f"| | {' | '.join(f'{n} {unit}' for n in numbers)} | ratio | temporaries |")
    print(f"|---|{'---:|' * (len(numbers) + 2)}")
    for name in names:
        found = [list(in_a_process(kind, name, number)) for number in numbers]
        seconds = [each[0] for each in found]
        cells = [f"{each:.1f} s" for each in seconds]
        cells += [f"{seconds[-1] / seconds[0]:.1f}", f"{found[-1][1]:.0f} MB"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure all, or one in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, metavar=("KIND", "NAME", "NUMBER"))
    one = parser.parse_args().one
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_compilation_cache_dir", None)
    if one:
        make = {"rules": simulated, "leaves": on_devices}[one[0]]
        return measure(make, one[1], int(one[2]))
    print_table("rules", [*RULES, METRICS], (64, 512), "workers")
    print()
    print_table("leaves", AGGREGATIONS, (10, 100), "leaves")


if __name__ == "__main__":
    main()
