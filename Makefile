# Every command a person needs. `make help` lists them.
PYTHON ?= python3
IMAGE_PYTHON ?= python3.13
BIN := .venv/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help setup image-python demo test test-faults test-model screenshots bench check lint types contracts docs lock clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready ## Prepare .venv from the lock files (needs Python 3.11 or newer, and PyPI)

.venv/.ready: requirements/dev.txt pyproject.toml src/apviso/scanning/scanners.txt src/apviso/scanning/tools.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	# As pip does for what it puts into the environment: programs that are started anew are not compiled anew.
	$(BIN)/python -m compileall -q src
	$(BIN)/apviso scanners install
	@touch $@

# The scan image gets the scanners of the Python that it is built from. Where that is older than 3.12, name a newer one for it alone.
image-python: .venv-image/.ready ## Prepare .venv-image, to build the scan image from IMAGE_PYTHON (3.12 or newer)

.venv-image/.ready: requirements/runtime.txt src/apviso/scanning/scanners.txt src/apviso/scanning/tools.txt
	test -x .venv-image/bin/python || $(IMAGE_PYTHON) -m venv .venv-image
	.venv-image/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	PYTHONPATH=src .venv-image/bin/python -m apviso.scanning.environment
	@touch $@

demo: setup ## Watch one scan from enrollment to report, on this machine
	$(BIN)/apviso demo

test: setup ## Run every test that needs no more than this machine
	$(BIN)/python -m pytest -n 3 --dist worksteal

# Also: FAULTS_SEED (of an earlier run), FAULTS_ONLY (names of faults), FAULTS_DATABASES (sqlite or postgresql).
test-faults: setup ## Break a whole installation for FAULTS_MINUTES (10) in every way, and tell what was lost
	$(BIN)/python -m tests.faults.campaign

# Also: MODEL_STEPS (of each sequence), MODEL_SEED (of an earlier run), MODEL_DATABASES (sqlite or postgresql).
test-model: setup ## Call a control plane in MODEL_SEQUENCES (100) random orders and see that each promise is kept
	$(BIN)/python -m tests.model.long_run

screenshots: setup ## Make the pictures in docs/screenshots anew
	APVISO_KEEP_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/browser/test_screenshots.py

bench: setup ## Measure the control plane, containers and guard beside their peers and limits (some 20 minutes)
	$(BIN)/python -m benchmarks

check: setup lint types contracts ## Lint, types, import contracts, upkeep, fast tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

lint: setup ## Style and common mistakes
	$(BIN)/ruff check src tests docs deploy benchmarks
	$(BIN)/ruff format --check src tests docs deploy benchmarks

types: setup ## Static types, strictly
	$(BIN)/mypy
	$(BIN)/mypy docs/make_reference.py deploy/scan/build.py
	$(BIN)/mypy benchmarks

contracts: setup ## Who may import whom
	$(BIN)/lint-imports

docs: setup ## Make the generated pages of docs/reference anew
	$(BIN)/python docs/make_reference.py

lock: setup ## Make the lock files anew from pyproject.toml and requirements/*.in
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --extra mcp --extra notify --extra otel --extra pdf pyproject.toml requirements/dev.in -c requirements/runtime.txt -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 requirements/scanners.in -o src/apviso/scanning/scanners.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 requirements/tools.in -o src/apviso/scanning/tools.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 requirements/scan.in -c requirements/runtime.txt -o requirements/scan.txt

clean: ## Remove the virtual environment and caches
	rm -rf .venv .venv-image .mypy_cache .ruff_cache .hypothesis .import_linter_cache
