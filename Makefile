# Everything a contributor runs. The first target that needs it builds .venv from requirements-dev.lock, once.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test check fix bench migration lock

help: ## print this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "chiso needs Python 3.11 or newer: $$($(PYTHON) --version) found. Try: make PYTHON=python3.12 run"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing dependencies into .venv (once) …"
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

run: .venv/.ready ## the main job on the embedded database, against the sandbox portals (PORT=8000)
	@exec $(BIN)/chiso up

# Each process has a PostgreSQL of its own; a file's tests stay together, they share its database.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: .venv/.ready ## all tests
	@$(PYTEST)

check: .venv/.ready ## all that CI runs: format, lint, types, contracts, migrations, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m migrations.check
	$(PYTEST)

fix: .venv/.ready ## format and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.ready ## the benchmarks behind the README's figures
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python -m "benchmarks.$$(basename $$script .py)" || exit 1; done

migration: .venv/.ready ## a new migration from the models: make migration m="add …"
	@test -n "$(m)" || { echo 'usage: make migration m="add …"'; exit 1; }
	$(BIN)/python -m migrations.new "$(m)"

lock: .venv/.ready ## pin the dependencies again, with hashes and without any index address
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
