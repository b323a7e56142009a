# Everything needs only Python 3.11+, make and the package registries; the environment is made from the lock files.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
BIN := $(VENV)/bin
# Hundreds of short processes are started below. Where images forbid Python to keep what it compiles, each of them would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test wide check lint types layers format fuzz clients portal screenshots bench conformance faults lock clean

demo: $(VENV)/.demo ## the main job, live on this terminal
	@$(BIN)/idplane demo

test: $(VENV)/.dev ## the tests that need nothing but Python
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(2 * (os.cpu_count() or 1))') --dist worksteal -q -m "not wide" tests

wide: $(VENV)/.dev ## the tests that take long: faults, floods, real SDKs, PostgreSQL
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(2 * (os.cpu_count() or 1))') --dist worksteal -q -m wide tests

check: lint types layers test wide fuzz ## everything that CI checks, except what needs other software

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests fuzz bench clients conformance faults
	$(BIN)/ruff check src tests fuzz bench clients conformance faults

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

fuzz: $(VENV)/.dev ## every endpoint against random input
	$(BIN)/pytest -q fuzz

conformance: $(VENV)/.dev ## real SDKs of every language against a live plane; LANGUAGES=python,javascript for a part
	@$(BIN)/python -m conformance $(if $(LANGUAGES),--languages $(LANGUAGES)) $(if $(CHECK),--check)

faults: $(VENV)/.dev ## servers, agents, database and network break under load, and what that does to whom; FAULTS="server 1,a host" for some
	@$(BIN)/python -m faults $(if $(FAULTS),--faults "$(FAULTS)")

fleet: $(VENV)/.dev ## 200 simulated agents of one server: idle, revoked, restarted; AGENTS=1000 for more
	@$(BIN)/python -u -m faults.fleet --agents $(or $(AGENTS),200) --identities $(or $(IDENTITIES),3)

clients: $(VENV)-clients/.ready $(VENV)-azure-cli/.ready clients/oav/node_modules/.ready ## the Azure CLI, management SDKs, Graph's SDK and Azure's validators against live planes
	PATH="$(CURDIR)/$(VENV)-azure-cli/bin:$$PATH" $(VENV)-clients/bin/pytest -n 2 --dist loadgroup -q clients

portal: $(VENV)-clients/.ready tests/portal/provider/node_modules/.ready ## the portal in a real browser (needs Chromium, certutil and node)
	$(VENV)-clients/bin/pytest -q -m wide tests/portal

screenshots: $(VENV)-clients/.ready ## every page of the portal as a picture, into docs/screenshots (needs Chromium, curl and pngquant)
	PYTHONPATH=$(CURDIR) $(VENV)-clients/bin/python -m tests.portal.screenshots

bench: $(VENV)-clients/.ready ## ratios against limits and peers, side by side
	@for script in bench/bench_*.py; do $(VENV)-clients/bin/python $$script || exit 1; done

format: $(VENV)/.dev
	$(BIN)/ruff format src tests fuzz bench clients conformance faults
	$(BIN)/ruff check --fix src tests fuzz bench clients conformance faults

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

$(VENV)-clients/.ready: requirements/clients.lock pyproject.toml
	@echo "Preparing the environment of the management clients (once) ..."
	@$(PYTHON) -m venv $(VENV)-clients
	@$(VENV)-clients/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/clients.lock
	@$(VENV)-clients/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)-azure-cli/.ready: requirements/azure-cli.lock
	@echo "Preparing the Azure CLI (once) ..."
	@$(PYTHON) -m venv $(VENV)-azure-cli
	@$(VENV)-azure-cli/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/azure-cli.lock
	@touch $@

clients/oav/node_modules/.ready: clients/oav/package-lock.json
	@cd clients/oav && npm ci --silent --no-audit --no-fund
	@touch $@

tests/portal/provider/node_modules/.ready: tests/portal/provider/package-lock.json
	@cd tests/portal/provider && npm ci --silent --no-audit --no-fund
	@touch $@

lock: ## write the lock files anew (needs uv)
	uv pip compile pyproject.toml --extra demo --extra postgresql --extra pkcs11 --extra telemetry --group dev $(LOCK_FLAGS) -o requirements/dev.lock
	uv pip compile pyproject.toml --extra demo --group build $(LOCK_FLAGS) -c requirements/dev.lock -o requirements/demo.lock
	uv pip compile pyproject.toml --extra postgresql --extra pkcs11 --extra telemetry --group build $(LOCK_FLAGS) -c requirements/dev.lock -o requirements/server.lock
	uv pip compile pyproject.toml --extra metrics --group build $(LOCK_FLAGS) -c requirements/dev.lock -o requirements/agent.lock
	uv pip compile pyproject.toml --extra demo --extra postgresql --extra pkcs11 --extra telemetry --group clients $(LOCK_FLAGS) -c requirements/dev.lock -o requirements/clients.lock
	uv pip compile requirements/azure-cli.in $(LOCK_FLAGS) -o requirements/azure-cli.lock
	for file in conformance/python/requirements/*.in; do uv pip compile $$file $(LOCK_FLAGS) -o $${file%.in}.lock || exit 1; done
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet

clean:
	rm -rf $(VENV) $(VENV)-clients $(VENV)-azure-cli clients/oav/node_modules tests/portal/provider/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
