# One door for everything: `make demo` and `make test` each set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
READY := $(VENV)/.ready

.PHONY: setup demo test test-oldest test-slow test-commands test-slurm test-slurm-quick slurm check bench \
  test-gpu bench-gpu wheels tensorboard
OLDEST := .venv-oldest
# What leans most on other people's code; with these, every test file is imported.
LEANING := tests/data/pixels tests/data/remote/test_remote_shards.py tests/shard_tools/test_create*.py \
  tests/golden tests/models tests/pretrained tests/test_foreign_names.py tests/test_house.py tests/test_main*.py \
  tests/training/test_augmentations.py tests/training/test_trainer.py
SLURM := slurmctld slurmd slurm-client munge iproute2
# Tests on up to four processes; a file stays on one, for what its tests share.
SHARED := -n auto --maxprocesses 4 --dist loadfile
# A machine with a GPU and no network has wheels and no environment: one is made over its own torch.
# The tests of a GPU share it, but for those that fill its memory.
OVER := $(if $(wildcard $(READY)),,$(wildcard .wheels/*.whl))
GPU_VENV := $(if $(OVER),.venv-gpu,$(VENV))
ON_GPU := $(GPU_VENV)/bin/python -m pytest -m gpu -rs
FILLS_IT := $(wildcard tests/gpu/test_memory.py)
GPU_TESTS = $(filter-out $(FILLS_IT),$(sort $(wildcard tests/gpu/test_*.py) \
  $(shell grep -rl --include='test_*.py' 'mark\.gpu' tests)))

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(if $(UV),uv venv -q --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(if $(UV),uv pip install -q --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install -q) -e '.[dev]'
	touch $@
	@echo "ready: source $(VENV)/bin/activate, then ssl-swin --help"

demo: setup
	$(BIN)/ssl-swin demo

test: setup
	$(BIN)/python -m pytest $(SHARED)

# The oldest versions that pyproject.toml admits, in an environment of their own.
test-oldest:
	test -x $(OLDEST)/bin/python || $(if $(UV),uv venv -q --python $(PYTHON) $(OLDEST),$(PYTHON) -m venv $(OLDEST))
	$(OLDEST)/bin/python .ci/oldest.py > $(OLDEST)/oldest.txt
	$(if $(UV),uv pip install -q --python $(OLDEST)/bin/python,$(OLDEST)/bin/python -m pip install -q) -c $(OLDEST)/oldest.txt -e '.[dev]'
	$(OLDEST)/bin/python -m pytest --collect-only -qq -m ''
	$(OLDEST)/bin/python -m pytest $(SHARED) $(LEANING)

test-slow: setup
	$(BIN)/python -m pytest -m 'slow and not slurm'

# Every benchmark at its smallest, and every command of README.md, data/README.md, slurm/README.md.
test-commands: setup
	$(BIN)/python -m pytest $(SHARED) -m commands

# Every scenario of a cluster, or those of a few minutes; the tests bring it up and take it down.
test-slurm: setup slurm
	$(BIN)/python -m pytest -m slurm -rs tests/slurm

test-slurm-quick: setup slurm
	$(BIN)/python -m pytest -m 'slurm and not slow' -rs tests/slurm

# Debian's SLURM; its packages start no service.
slurm:
	@for name in slurmctld slurmd sbatch munged ip; do \
	  command -v $$name >/dev/null || missing=$$name; done; \
	if [ -z "$$missing" ]; then true; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -qy --no-install-recommends $(SLURM) \
	    || echo "SLURM could not be installed: its tests are skipped"; \
	else echo "SLURM is not here; on Debian: sudo apt-get install $(SLURM)"; fi

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/step.py --sides ours,timm

# Both are for one GPU, nine minutes each at most; without one, all that the CPU can do, at tiny sizes.
test-gpu: $(GPU_VENV)/.ready
	status=0; \
	timeout -k 10 400 $(ON_GPU) $(SHARED) --durations=10 $(GPU_TESTS) || status=$$?; \
	$(if $(FILLS_IT),timeout -k 10 130 $(ON_GPU) $(FILLS_IT) || status=$$?;) \
	exit $$status

bench-gpu: $(GPU_VENV)/.ready
	timeout -k 10 530 $(GPU_VENV)/bin/python benchmarks/gpu.py $(GPU_OPTIONS)

# What such a machine lacks, at most 60 MB; .wheels goes there with the checkout.
wheels:
	$(PYTHON) .ci/wheels.py collect $(if $(WITHOUT),--without $(WITHOUT))

.venv-gpu/.ready: pyproject.toml $(OVER)
	$(PYTHON) .ci/wheels.py install
	touch $@

tensorboard: setup
	$(BIN)/tensorboard --logdir runs --samples_per_plugin images=1000
