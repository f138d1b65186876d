# Every target makes its own environment in .venv (and one in .venv-peers for what ours is
# measured against); only git, make and Python are needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PEERS ?= .venv-peers
BYZFL ?= .venv-byzfl
DRJAX ?= .venv-drjax
BLACKJAX ?= .venv-blackjax
REPRESENTATIVES ?= .venv-representatives
# The folder with the files of Fashion-MNIST, where it is not the one of Debian's package.
DATA ?=
DATA_OPTION = $(if $(DATA),--data-dir $(DATA))
JOBS ?= auto

.PHONY: demo demo-network demo-test test quick lint types unit state-paths doctest docs clean \
	peers benchmark benchmark-blackjax benchmark-bridge benchmark-bytes benchmark-byzantine benchmark-clock benchmark-diversity benchmark-gossip benchmark-network benchmark-optimizers benchmark-peers \
	benchmark-representatives benchmark-codes benchmark-sampling benchmark-sparsity benchmark-symmetry benchmark-shuffling benchmark-rounds \
	benchmark-rules

demo: .venv/examples
	$(BIN)/python examples/demo.py
	$(BIN)/python examples/stragglers.py

# As root, with iproute2: two hosts on this machine, and a link of 100 Mbit/s between them.
# Torch is there when `make peers` was.
demo-network: .venv/examples
	$(BIN)/python -m benchmarks.network.compare out/demo-network.json --demo --fresh \
		$(if $(wildcard $(PEERS)/bin/python),--torch $(PEERS)/bin/python) $(DATA_OPTION)

test: lint types unit doctest

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/toml-sort --check pyproject.toml

types: .venv/dev
	$(BIN)/pyright --pythonpath $(BIN)/python

# Units, contracts, two processes, and the examples for a few steps. Most programs run
# once, so XLA need not optimise them, nor cut them into parts for threads: that halves
# the time. `make unit XLA_FLAGS=` tests the code that users get.
unit quick: export XLA_FLAGS ?= --xla_backend_optimization_level=0 \
	--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
# What one process compiled, now or in an earlier run, no other compiles again.
unit quick: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.venv/compiled
unit quick: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
unit quick: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES ?= -1
unit: .venv/dev
	$(BIN)/python -m pytest tests -q -n $(JOBS) --dist loadgroup

# The unit tests of what differs from main, or of a name: `make quick K=krum`.
quick: .venv/dev
	$(BIN)/python -m tests.quick $(K) --numprocesses=$(JOBS) --dist=loadgroup

# After a change of states on purpose: the names under which checkpoints hold them.
state-paths: .venv/dev
	$(BIN)/python -m tests.contract.state_paths

doctest: .venv/dev
	$(BIN)/python -m pytest jaxdist -q --doctest-modules

docs: .venv/dev
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

# Minutes: asserts the accuracies of the demo.
demo-test: .venv/dev
	$(BIN)/python -m pytest tests/test_examples.py -q --demo

# Compiled programs against a reference in the same run; nothing is asserted.
benchmark: .venv/dev
	mkdir -p out
	$(BIN)/python -m pytest benchmarks -q --benchmark-only \
		--benchmark-columns=min,median --benchmark-json=out/benchmarks.json
	$(BIN)/python benchmarks/table.py out/benchmarks.json

# Beside hivemind and torch: encode and decode, and PowerSGD in two processes.
benchmark-peers: .venv/dev peers
	$(BIN)/python benchmarks/peers/compare.py $(PEERS)/bin/python
	$(BIN)/python benchmarks/peers/power_sgd.py $(PEERS)/bin/python

# Beside ByzFL: robust rules on stacked gradients, on one core.
benchmark-rules: .venv/dev $(BYZFL)/installed
	$(BIN)/python benchmarks/peers/rules.py $(BYZFL)/bin/python

# Local rounds: compared with DrJAX in an environment that has both, and under attack.
benchmark-rounds: .venv/dev $(DRJAX)/installed
	$(DRJAX)/bin/python benchmarks/peers/rounds.py
	PYTHONPATH=examples $(BIN)/python benchmarks/rounds_attacks.py

# Hours on two cores: training under attack, the heat map of docs/byzantine.md. What
# the file has is not trained again.
benchmark-byzantine: .venv/dev
	$(BIN)/python -m benchmarks.byzantine.grid docs/_static/byzantine.jsonl $(DATA_OPTION)
	$(BIN)/python -m benchmarks.byzantine.report docs/_static/byzantine.jsonl \
		docs/_byzantine.md

# Whole optimizers that send little, and liars among their workers: the tables of
# docs/optimizers.md, in three quarters of an hour. What the files have is not trained again.
benchmark-optimizers: .venv/dev
	PYTHONPATH=examples $(BIN)/python -m benchmarks.quality.optimizers \
		docs/_static/optimizers.json docs/_optimizers.md $(DATA_OPTION)
	PYTHONPATH=examples $(BIN)/python -m benchmarks.quality.attacked \
		docs/_static/optimizers_attacked.json docs/_optimizers_attacked.md $(DATA_OPTION)

# Nodes whose neighbours lie, with and without a rule: the table of docs/gossip.md.
benchmark-bridge: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/bridge.py

# Simulated nodes, 16 and 256 of them: time of a step for each, compared with matrices.
benchmark-gossip: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/gossip_scale.py

# Pictures and tables of bytes, in ten minutes; times do not matter here.
benchmark-bytes: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/entropy.py
	PYTHONPATH=examples $(BIN)/python benchmarks/error_bytes.py out/error_bytes.png
	PYTHONPATH=examples $(BIN)/python benchmarks/loss_bytes.py out/loss_bytes.png

# Simulated time: how fast the clock is, what a step costs, and a picture.
benchmark-clock: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/clock.py out/tradeoff.png

# AdaScale against linear and square-root scaling, in minutes: docs/diversity.md.
benchmark-diversity: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/papers/adascale.py out/diversity.png
	PYTHONPATH=examples $(BIN)/python benchmarks/papers/batch_size.py

# Which few stand for all, compared with apricot and kmedoids: docs/representatives.md.
benchmark-representatives: .venv/dev $(REPRESENTATIVES)/installed
	$(REPRESENTATIVES)/bin/python benchmarks/papers/representatives.py \
		out/representatives.png
	$(BIN)/python benchmarks/papers/polling.py out/polling.png

# Coded shuffling: all permutations of six workers, and the picture of docs/shuffling.md.
benchmark-shuffling: .venv/dev
	$(BIN)/python benchmarks/papers/shuffling.py out/shuffling.png

# Samplers against their exact laws, alone and over a network: docs/sampling.md.
benchmark-sampling: .venv/dev
	$(BIN)/python benchmarks/papers/sampling.py

# Samplers compared with blackjax, in an environment that has both.
benchmark-blackjax: $(BLACKJAX)/installed
	$(BLACKJAX)/bin/python -m benchmarks.peers.sampling

# Jumps along level sets of the loss: docs/symmetry.md.
benchmark-symmetry: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/papers/teleport.py out/symmetry.png

# Codes against stragglers, simulated: docs/coding.md.
benchmark-codes: .venv/dev
	$(BIN)/python benchmarks/papers/codes.py

# Networks of few weights, by random and by trained masks: docs/sparsity.md.
benchmark-sparsity: .venv/dev
	PYTHONPATH=examples $(BIN)/python benchmarks/papers/sparse.py out/sparsity.png

# As root, with iproute2, on a quiet machine for half an hour: docs/network.md.
benchmark-network: .venv/dev peers
	$(BIN)/python -m benchmarks.network.compare docs/_static/network.json --fresh \
		--torch $(PEERS)/bin/python $(DATA_OPTION)
	$(BIN)/python -m benchmarks.network.report docs/_static/network.json docs/network.md

peers: $(PEERS)/installed

clean:
	rm -rf .venv .venv-peers .venv-byzfl .venv-drjax .venv-blackjax .venv-representatives out docs/_build

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/examples: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[examples]"
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

$(BYZFL)/installed: benchmarks/requirements-byzfl.txt
	$(PYTHON) -m venv $(BYZFL)
	$(BYZFL)/bin/python -m pip install --quiet --requirement $<
	touch $@

$(DRJAX)/installed: benchmarks/requirements-drjax.txt
	$(PYTHON) -m venv $(DRJAX)
	$(DRJAX)/bin/python -m pip install --quiet --requirement $< --editable .
	touch $@

$(BLACKJAX)/installed: benchmarks/requirements-blackjax.txt
	$(PYTHON) -m venv $(BLACKJAX)
	$(BLACKJAX)/bin/python -m pip install --quiet --requirement $< --editable .
	touch $@

$(REPRESENTATIVES)/installed: benchmarks/requirements-representatives.txt
	$(PYTHON) -m venv $(REPRESENTATIVES)
	$(REPRESENTATIVES)/bin/python -m pip install --quiet --requirement $< --editable .
	touch $@

$(PEERS)/installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	touch $@
