# One door for everything: `make demo` and `make test` each set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
READY := $(VENV)/.ready

.PHONY: setup demo test test-slow check bench tensorboard

setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(if $(UV),uv venv -q --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(if $(UV),uv pip install -q --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install -q) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/ssl-swin demo

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/step.py

tensorboard: setup
	$(BIN)/tensorboard --logdir runs
