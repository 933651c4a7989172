# dicom-router: the project's own commands. `make demo` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup peers demo test check format structure coverage bench soak fuzz lock clean

help: ## show the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/.ready ## make .venv with the pinned dependencies

# --no-deps: the lock is complete, so pip resolves nothing and newer versions on the index change nothing.
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

peers: ## install DCMTK and Orthanc from the distribution where root allows it
	@sh tests/interop/install-peers.sh

demo: setup ## route real objects through the router to two archives, and show what went where
	@$(BIN)/dicom-router demo

test: setup peers ## the whole suite
	$(BIN)/python -m pytest -n auto --dist worksteal

check: setup peers ## format, lint, strict types, import contract, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --dist worksteal

format: setup ## format the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

structure: setup ## lengths of modules and functions, circles, verbs in many modules
	$(BIN)/python -m tests.test_structure

coverage: setup peers ## lines and branches of pdu/ and router/ that the tests reach
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

bench: setup peers ## side by side with the peers; results under benchmarks/results
	$(BIN)/dicom-router bench compare

soak: setup peers ## long runs: kills under load, large objects, a dead destination
	$(BIN)/python -m pytest -m soak --timeout=1800

fuzz: setup ## long runs of the property tests and the parsers' fuzz targets
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m fuzz --timeout=1800

lock: ## write requirements.lock again, present pins kept (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-header -q -o requirements.lock

clean: ## remove what the commands made
	rm -rf .venv .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
