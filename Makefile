# `make` lists the targets. `sweep` and `test` set everything up by themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

SWEEP  ?= families
SCALE  ?= nano
# further overrides for `make sweep`: make sweep ARGS="seed=0,1,2 protocol.epochs=20"
ARGS   ?=
CHECKED := detectors datamodules callbacks experiments tests

.DEFAULT_GOAL := help
.PHONY: help setup lint type test test-slow gpu-test sweep bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with the pinned versions (skipped when it is current)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"lineup needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@echo "setting up $(VENV): about 6 GB with torch, a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "$(VENV) is ready"

lint: $(READY)  ## ruff: style, imports, complexity, formatting
	@echo "lint: ruff"
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)

type: $(READY)  ## basedpyright
	@echo "type: basedpyright"
	@$(BIN)/basedpyright

test: $(READY)  ## the tests, without the slow ones and those that need a GPU
	@echo "test: pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-slow: $(READY)  ## the long tests: kill and resume, two processes, overfitting
	@$(BIN)/python -m pytest -m "slow and not gpu"

gpu-test: $(READY)  ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu

sweep: $(READY)  ## compare: SWEEP=families SCALE=nano|paper ARGS="key=value ..."
	@echo "sweep: $(SWEEP) at scale=$(SCALE); finished runs are not trained again"
	@$(BIN)/lineup sweep sweep=$(SWEEP) scale=$(SCALE) $(ARGS)

bench: $(READY)  ## the platform's own overheads, as ratios
	@$(BIN)/lineup benchmark

clean:  ## remove caches and build folders (not runs/, not .venv)
	@rm -rf build dist ./*.egg-info .pytest_cache .ruff_cache .hypothesis
	@find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +
