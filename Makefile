# Every target works from a fresh checkout: what it needs is made first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lock demo up down test test-fast nightly coverage coverage-fast compose-test check docs bench chaos kube-test clean

PYTHON ?= python3
WORKERS ?= 3
FAST = tests/unit tests/contract
PARALLEL = -n $(WORKERS) $(if $(SEED),--hypothesis-seed=$(SEED))
BIN := .venv/bin
READY := .venv/ready
UV := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)

# A repository of one's own for the demo, and KEEP=1 to leave the stack running.
export REPO BRANCH SPEC KEEP
# What the tests run against: STACK=containers, of these images.
export STACK MONGO_IMAGE NATS_IMAGE
# Compiled files are kept, or each of the many processes that tests start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show these targets
	@echo "Headrace: make demo builds a repository in front of your eyes, make test runs the tests."
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

setup: $(READY) ## Make .venv from the lock file
	@echo "Ready: $(BIN)/headrace --help"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing; name another: make PYTHON=python3.12"; \
		exit 1; }
	@$(BIN)/uv --version 2>/dev/null | grep -qE "^uv $(UV)( |$$)" || { \
		echo "Making .venv ..."; \
		$(PYTHON) -m venv .venv || { echo "Python's venv is missing; on Debian: apt-get install -y python3-venv"; exit 1; }; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall "uv==$(UV)"; }
	@echo "Installing what requirements.txt locks ..."
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.txt
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: $(READY) ## Write requirements.txt anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra local --extra dev --universal --generate-hashes --python-version 3.11 --no-header -o requirements.txt

demo: $(READY) ## Build a repository in front of your eyes (REPO= BRANCH= SPEC= KEEP=1)
	@exec $(BIN)/headrace demo

up: $(READY) ## Start everything in the background
	@exec $(BIN)/headrace up --detach

down: $(READY) ## Stop it
	@exec $(BIN)/headrace down

test: $(READY) ## Run all tests (STACK=containers: NATS and MongoDB from Docker; WORKERS=0: in one process)
	$(BIN)/pytest $(PARALLEL)

test-fast: $(READY) ## Run the unit and contract tests, in under a minute
	$(BIN)/pytest $(PARALLEL) $(FAST)

nightly: $(READY) ## Run the long forms of the tests and say what ran (PART="chaos fuzz-api": these alone)
	$(BIN)/python -m tests.nightly.run $(PART)

coverage: $(READY) ## Measure branch coverage of all tests; pages of it in .coverage/html
	@rm -rf .coverage
	$(BIN)/coverage run -m pytest $(PARALLEL)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q -d .coverage/html
	@$(BIN)/python -m tests.nightly.coverage_summary

coverage-fast: $(READY) ## The same of the unit and contract tests
	@rm -rf .coverage
	$(BIN)/coverage run -m pytest -q -r f $(PARALLEL) $(FAST)
	@$(BIN)/coverage combine -q
	@$(BIN)/python -m tests.nightly.coverage_summary

compose-test: $(READY) ## Build the image, start docker-compose.yml, use it, damage it, take it away
	HEADRACE_COMPOSE_TEST=1 $(BIN)/pytest tests/deployment/compose

check: $(READY) ## Style, types, import arrows, generated documents
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python -m infra.docgen.generator --check

docs: $(READY) ## Generate docs/MESSAGES.md and the AsyncAPI document
	$(BIN)/python -m infra.docgen.generator

bench: $(READY) ## Measure on this machine; prints a table, writes bench-results.json
	$(BIN)/python -m tests.bench.bench

chaos: $(READY) ## Kill processes at random for a long time, and check that no build is lost (HEADRACE_CHAOS_SEED=, _ROUNDS=)
	HEADRACE_CHAOS_ROUNDS=$${HEADRACE_CHAOS_ROUNDS:-2} $(BIN)/pytest tests/chaos -v --override-ini="addopts=" -ra

kube-test: $(READY) ## Deploy to the cluster at KUBECONFIG, replace everything under load, and check that nothing is lost
	HEADRACE_KUBE_TEST=1 $(BIN)/pytest tests/deployment/kubernetes -v --override-ini="addopts=" -ra

clean: ## Remove .venv, caches and the local stack's data
	@if [ -x $(BIN)/headrace ]; then $(BIN)/headrace down; fi
	rm -rf .venv .headrace .coverage nightly-results *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
