# `make` lists what there is. Everything happens in .venv, which is made on first use; what you put there stays.

PYTHON ?= python3
EXTRAS := all,dev
ARGS ?=

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PY := $(BIN)/python

NEEDS := pyproject.toml hatch_build.py
USER_READY := .venv/.ready
DEV_READY := .venv/.ready-$(EXTRAS)

# the torch that is already in .venv is kept, whoever put it there
INSTALL = $(PY) -m pip --version > .venv/keep.log 2>&1 || $(PY) -m ensurepip; \
	$(PY) -c "from importlib.metadata import version; print('torch==' + version('torch'))" > .venv/keep.txt 2>> .venv/keep.log; \
	$(PY) -m pip install --disable-pip-version-check --constraint .venv/keep.txt --editable

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-gpu check lint types imports format generate wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(USER_READY) ## set up, restore a sample, leave a before/after picture in demo/
	@$(BIN)/restorekit demo --out demo

test: $(DEV_READY) ## set up with all that the tests need, run the default tests
	$(PY) -m pytest $(ARGS)

test-all: $(DEV_READY) ## also the slow tests
	$(PY) -m pytest -m "not gpu" $(ARGS)

test-gpu: $(DEV_READY) ## the tests that need a CUDA card
	$(PY) -m pytest -m gpu $(ARGS)

check: lint types imports test ## everything that a change has to pass

lint: $(DEV_READY) ## format, style, spelling
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(BIN)/codespell

types: $(DEV_READY) ## mypy, strict
	$(PY) -m mypy

imports: $(DEV_READY) ## who may import whom
	$(BIN)/lint-imports

format: $(DEV_READY) ## put the code into shape
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

generate: $(DEV_READY) ## write the pages and tables that are made from records
	$(PY) docs/_generate

wheel: $(DEV_READY) ## build dist/*.whl
	rm -rf dist
	$(PY) -m build --wheel

clean: ## remove what was built, not the environment
	rm -rf dist build demo .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

$(USER_READY): $(NEEDS) | .venv
	@echo "Installing RestoreKit into .venv; the first time this downloads PyTorch, some gigabytes."
	$(INSTALL) .
	@touch $@

$(DEV_READY): $(NEEDS) | .venv
	@echo "Installing RestoreKit and the tools for its tests into .venv; the first time this downloads PyTorch, some gigabytes."
	$(INSTALL) ".[$(EXTRAS)]"
	@touch $@ $(USER_READY)

.venv:
	@$(PYTHON) -c "" 2> /dev/null || { echo "'$(PYTHON)' does not run; name a Python 3.11 or newer: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "$$($(PYTHON) --version) is too old, RestoreKit needs 3.11 or newer; name one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c "import venv, ensurepip" 2> /dev/null || { echo "$(PYTHON) lacks its venv module; install it (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
