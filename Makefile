# Two commands do all: `make demo` and `make test`. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lab is made of namespaces, mounts and cgroups: root's alone.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=CI,HOME,ORCHESTRATE_CACHE,ORCHESTRATE_LLAMA_CPP,ORCHESTRATE_NIXPKGS,ORCHESTRATE_SWITCH_TO_CONFIGURATION,XDG_CACHE_HOME)

.PHONY: demo test test-fast test-faults bench-cpu bench-copy bench-builds bench-deploy docs lint setup clean

demo: setup ## deploy the fleet in a box, change nothing, break one host, put it back
	$(AS_ROOT) $(BIN)/python -m tests.demo

test: setup lint ## everything, also on the fleet in a box
	$(AS_ROOT) $(BIN)/python -m pytest

test-fast: $(VENV)/installed lint ## what needs no lab: seconds
	$(BIN)/python -m pytest tests/unit

test-faults: setup ## each fault at each moment of a deployment, on the fleet in a box
	$(AS_ROOT) $(BIN)/python -m pytest tests/fleet/faults -m 'faults or not faults'

bench-cpu: setup ## the three CPU builds of llama.cpp, side by side; compiles them the first time
	$(AS_ROOT) $(BIN)/python -m bench.cpu

bench-copy: setup ## a closure to eight targets, beside `nix copy`
	$(AS_ROOT) $(BIN)/python -m bench.copy

bench-builds: setup ## one build however many hosts, and where builds end first; beside Nix's builders
	$(AS_ROOT) $(BIN)/python -m bench.builds

bench-deploy: setup ## whole deployments of 4 and 16 hosts, beside bare commands and ansible-core
	$(AS_ROOT) $(BIN)/python -m bench.deploy

docs: $(VENV)/installed ## write what in docs/ follows from the code
	$(BIN)/python -m inventory.reference docs
	$(BIN)/python -m orchestrator.cli.render.schema

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: lab-tools $(VENV)/installed

.PHONY: lab-tools
lab-tools:
	$(AS_ROOT) tests/lab/setup.sh

$(VENV)/installed: pyproject.toml | lab-tools
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
