# `make help` lists what can be done. Every target sets up what it needs.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
BENCH ?= archive
SETUP := .cache/setup
SETUP_TEST := .cache/setup-test
SETUP_INPUTS := pyproject.toml uv.lock scripts/setup.sh

.PHONY: help setup demo check test lint types engines bench conformance clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP_TEST) ## Install everything for work on Muniment

$(SETUP): $(SETUP_INPUTS)
	@scripts/setup.sh
	@mkdir -p .cache && touch $@

$(SETUP_TEST): $(SETUP_INPUTS)
	@scripts/setup.sh test
	@mkdir -p .cache && touch $@ $(SETUP)

demo: $(SETUP) ## Archive, verify and restore real files of this machine
	@PATH="$(CURDIR)/.venv/bin:$$PATH" scripts/demo.sh

lint: $(SETUP_TEST) ## Style, types and the layers' contracts
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports >.cache/lint-imports.log 2>&1 || (cat .cache/lint-imports.log; exit 1)

check: lint ## Lint and the fast tests (under two minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m pytest -q -n 2 -m "not slow and not engine"

engines: ## Build the IPFS programs that tests run against, once (minutes; needs Go or PyPI)
	@scripts/engines.sh

test: lint engines ## Everything: lint and all tests
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m pytest -q -n 2

bench: $(SETUP_TEST) ## Run one benchmark beside its peers: make bench BENCH=archive
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m benchmarks $(BENCH)

conformance: $(SETUP_TEST) ## Run the official suites of the pinning API and of IPFS gateways (needs gateway-conformance and Go)
	@$(PYTHON) scripts/conformance.py pinning
	@scripts/conformance.sh

clean: ## Remove what setup and tests made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
