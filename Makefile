# Every target does its own set-up: a fresh machine needs Python 3.11 or newer, make, and the
# package index that pip is set to.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Exact versions; torch first and by itself, so that a local CPU build is taken where there is one.
CONSTRAINTS := constraints.txt
# Clients that the tests drive at the server; their pins exclude each other.
CLIENTS := .venv-clients
CLIENT_PINS := tests/loop/clients
CLIENT_NAMES := google-generativeai google-genai google-genai-1.46 node

.DEFAULT_GOAL := help
.PHONY: help demo serve clients test check format bench bench-train fuzz soak base base-gate clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.train: pyproject.toml $(CONSTRAINTS)
	@echo "Setting up $(VENV), a few minutes the first time. 1 of 2: PyTorch ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -c $(CONSTRAINTS) "$$(grep -E '^torch==' $(CONSTRAINTS))"
	@echo "2 of 2: Kamerton and what else it needs ..."
	@$(PIP) -c $(CONSTRAINTS) -e ".[train,plot]"
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "Tools for tests and checks ..."
	@$(PIP) -c $(CONSTRAINTS) -e ".[train,dev]"
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "TRL, to measure against ..."
	@$(PIP) -c $(CONSTRAINTS) -e ".[bench]"
	@touch $@

$(CLIENTS)/%/.made: $(CLIENT_PINS)/%.txt
	@echo "Client for the tests: $* ..."
	@rm -rf $(@D)
	@$(PYTHON) -m venv --without-pip $(@D)
	@$(BIN)/python -m pip --python $(@D) install -qq --disable-pip-version-check -r $<
	@touch $@

$(CLIENTS)/node/.made: $(CLIENT_PINS)/package.json $(CLIENT_PINS)/package-lock.json
	@echo "Clients for the tests: node ..."
	@mkdir -p $(@D) && cp $^ $(@D)
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null \
		&& touch $@ || echo "npm cannot install them: the tests of the Node clients are skipped."

demo: $(VENV)/.train ## fifteen examples in, a tuned model that answers
	@$(BIN)/kamerton demo $(if $(KEEP),--keep)

serve: $(VENV)/.train ## the server, in the foreground
	@$(BIN)/kamerton serve

clients: $(VENV)/.dev ## Gemini clients for the tests, each in an environment of its own
	@$(MAKE) -s -j4 $(CLIENT_NAMES:%=$(CLIENTS)/%/.made)

test: clients ## the whole suite
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: $(VENV)/.dev ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## put the code in order
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## measure against the field's stock trainer
	@$(BIN)/python -m benchmarks

bench-train: $(VENV)/.bench ## measure the training step and jobs against TRL, some ten minutes
	@$(BIN)/python -m benchmarks.train $(ARGS)

fuzz: $(VENV)/.dev ## ten minutes of broken files for the readers of datasets
	@$(PIP) atheris==3.0.0
	@$(BIN)/python -m tests.fuzz.readers $(ARGS)

soak: $(VENV)/.dev ## kill server, worker, trainer and engine a hundred times in the middle of runs
	@$(BIN)/python -m tests.loop.kills $(ARGS)

base: $(VENV)/.train ## make the embedded base model anew (about an hour on one core)
	@$(BIN)/python -m recipes.kamerton_nano_001 $(ARGS)

base-gate: $(VENV)/.train ## does the embedded base model hold what its card says?
	@$(BIN)/python -m recipes.kamerton_nano_001.gate $(ARGS)

clean: ## remove the virtual environments and caches
	@rm -rf $(VENV) $(CLIENTS) .mypy_cache .ruff_cache .pytest_cache
