# Everything runs from a virtual environment in .venv, made from the lock files; outside this folder only the package caches change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# A stamp's name carries a checksum of what it was made from, so any other lock, settings or folder makes it stale. The
# folder counts because a virtual environment holds absolute paths.
checksum = $(shell { pwd; cat $(1); } | cksum | tr ' ' '-')
VENV_STAMP := $(VENV)/.stamp-venv-$(call checksum,requirements-uv.lock)
RUNTIME_STAMP := $(VENV)/.stamp-runtime-$(call checksum,requirements-uv.lock requirements.lock pyproject.toml)
DEV_STAMP := $(VENV)/.stamp-dev-$(call checksum,requirements-uv.lock requirements-dev.lock pyproject.toml)

# The developers' lock has all of the runtime's. Once installed it stays, so that `make run` takes no tool away.
RUN_STAMP := $(if $(wildcard $(VENV)/.dev),$(DEV_STAMP),$(RUNTIME_STAMP))

# An environment whose interpreter has gone is no environment.
$(shell test -x $(BIN)/python || rm -f $(VENV)/.stamp-*)

.PHONY: help run test soak chaos bench check format lock setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(RUN_STAMP) ## Start the service with sample data; ARGS='...' adds options
	@exec $(BIN)/portfolio-state up --sample $(ARGS)

test: $(DEV_STAMP) ## Run every test; ARGS='...' goes to pytest
	@$(BIN)/python -m pytest -p tests.support.beside $(ARGS)

soak: $(DEV_STAMP) ## Run the tests that `make test` leaves out because they take long
	@$(BIN)/python -m pytest -m soak $(ARGS)

SEEDS ?=
MINUTES ?= 10
chaos: $(DEV_STAMP) ## Faults under load from each of SEEDS='1 2 3', MINUTES=10 each; ARGS='...' adds options
	@$(BIN)/python -m tests.chaos $(addprefix --seed ,$(SEEDS)) --minutes $(MINUTES) $(ARGS)

bench: $(DEV_STAMP) ## Measure every figure beside its floor, half an hour and more; ARGS='--quick' takes three
	@$(BIN)/python -m benchmarks $(ARGS)

check: $(DEV_STAMP) ## Lint, types, import rules and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	@# Types and tests take a core each, and most of the minute that this is to stay within.
	$(BIN)/mypy & types=$$!; \
	PROPERTY_EXAMPLES=6 $(BIN)/python -m pytest -q tests/unit; tests=$$?; \
	wait $$types && exit $$tests

format: $(DEV_STAMP) ## Format the code and apply ruff's safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(DEV_STAMP) ## Make the developers' environment, and nothing more
	@:

# Names, versions and hashes only: where packages come from is for each machine's own configuration to say.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

lock: $(VENV_STAMP) ## Bring the lock files up to pyproject.toml; UPGRADE=1 takes the newest versions
	$(COMPILE) pyproject.toml --group build --output-file requirements.lock
	$(COMPILE) pyproject.toml --group build --group dev --constraint requirements.lock --output-file requirements-dev.lock
	echo uv | $(COMPILE) - --output-file requirements-uv.lock

clean: ## Remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_STAMP):
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: there is no $(PYTHON); name a Python 3.11 or newer: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
			"name another: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) lacks the modules venv and ensurepip; on Debian and Ubuntu they are in python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

# Every stamp goes first and comes back last, the environment's too: an installation that was interrupted leaves packages
# with half of their files, which look installed, so the next one starts from an empty environment.
# uv does not read pip's configuration (a mirror, a proxy) and needs a cache; where that stops it, pip does the same, slower.
define install
@rm -f $(VENV)/.stamp-*
@echo "Installing $(1) into $(VENV)."
@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python $(1) \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
@touch $(VENV_STAMP) $@
endef

$(RUNTIME_STAMP): | $(VENV_STAMP)
	$(call install,requirements.lock)

$(DEV_STAMP): | $(VENV_STAMP)
	@touch $(VENV)/.dev
	$(call install,requirements-dev.lock)
