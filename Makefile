# Two commands for a newcomer: `make demo` and `make test`. Everything else is for people who work on the project.
# The first interpreter that runs and is new enough (a shim on the path may do neither).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install demo test lint types core integration test-long test-interop generate lock clean

help:
	@echo "make demo          the whole plant on this machine, 60 s"
	@echo "make test          lint, types, core, simulation, integration (at most 10 minutes on 2 cores)"
	@echo "make test-long     the full figures; writes docs/reliability.md"
	@echo "make test-interop  against foreign environments"
	@echo "make generate      protobuf code and JSON Schemas from their sources"
	@echo "make lock          requirements.lock from pyproject.toml"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer on the path; install one (Debian: apt-get install python3 python3-venv) or say where it is: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "make: $(PYTHON) does not run or is older than 3.11; say which to use: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (Debian: apt-get install python3-venv)"; exit 2; }
	@rm -f $(STAMP)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: install
	$(BIN)/uns demo --seconds 60

test: lint types core integration

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

core: install
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not integration and not long and not interop"

integration: install
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "integration and not long and not interop"

test-long: install
	$(BIN)/python -m pytest -q -m "long"
	$(BIN)/python -m tests.reliability --write docs/reliability.md

test-interop: install
	@$(BIN)/python -m pytest -q -m "interop" || { test $$? -eq 5 && echo "make: no foreign environment has tests yet"; }

generate: install
	$(BIN)/python -m schemas.generate

lock:
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --extra dev --extra fast --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
