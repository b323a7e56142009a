# Everything needs only Python 3.11+, make and the package registries; the environment is made from the lock files.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
BIN := $(VENV)/bin
# Hundreds of short processes are started below. Where images forbid Python to keep what it compiles, each of them would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint types layers format fuzz bench conformance lock clean

demo: $(VENV)/.demo ## the main job, live on this terminal
	@$(BIN)/idplane demo

test: $(VENV)/.dev ## the tests that need nothing but Python
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(2 * (os.cpu_count() or 1))') --dist worksteal -q tests

check: lint types layers test fuzz ## everything that CI checks, except what needs other software

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests fuzz bench conformance
	$(BIN)/ruff check src tests fuzz bench conformance

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

fuzz: $(VENV)/.dev ## every endpoint against random input
	$(BIN)/pytest -q fuzz

conformance: $(VENV)/.dev ## real SDKs of every language against a live plane; LANGUAGES=python,javascript for a part
	@$(BIN)/python -m conformance $(if $(LANGUAGES),--languages $(LANGUAGES)) $(if $(CHECK),--check)

bench: $(VENV)/.dev ## ratios against limits and peers, side by side
	@for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

format: $(VENV)/.dev
	$(BIN)/ruff format src tests fuzz bench conformance
	$(BIN)/ruff check --fix src tests fuzz bench conformance

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"idplane needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Set PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.lock pyproject.toml | $(VENV)/bin/python
	@echo "Preparing the environment (once) ..."
	@$(PIP) install --require-hashes -r requirements/demo.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Preparing the development environment (once) ..."
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

lock: ## write the lock files anew (needs uv)
	uv pip compile pyproject.toml --extra demo --extra postgresql --group dev $(LOCK_FLAGS) -o requirements/dev.lock
	uv pip compile pyproject.toml --extra demo --group build $(LOCK_FLAGS) -c requirements/dev.lock -o requirements/demo.lock
	for file in conformance/python/requirements/*.in; do uv pip compile $$file $(LOCK_FLAGS) -o $${file%.in}.lock || exit 1; done
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
