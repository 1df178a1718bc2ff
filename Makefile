# lambdatrace: everything a person or a machine does with this repository. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format type unit verdicts test-kernels bench probe preload \
	preload-clients preload-arm64 man pr clean

PYTHON_RUN := .venv/bin/python
# bcc is Debian's and belongs to Debian's Python; the compiled probe belongs to none.
BCC_PYTHON ?= /usr/bin/python3
# Narrow a test run down: make unit ARGS="tests/unit -k emulator"
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: system packages, .venv, AWS's emulator, DynamoDB Local (root)
	@tools/setup.sh

demo: setup ## See it work: a real handler, real kernel traces, servers of its own (root)
	@$(PYTHON_RUN) -m examples.pipeline.demo

test: setup lint type unit ## Everything that has to pass: set-up, lint, types, tests (root)

lint: setup ## Check style and formatting
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: setup ## Rewrite the code in the one format
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

type: setup ## Check types, strictly
	@.venv/bin/mypy

unit: setup ## Run the tests (ARGS= for some of them)
	@$(if $(ARGS),$(PYTHON_RUN) -m pytest $(ARGS),tools/tests.sh)

verdicts: setup ## Try every cause of the fault world and print what each is taken for (root)
	@$(PYTHON_RUN) tests/support_verdicts.py $(ARGS)

test-kernels: ## The probe's self-test on Debian's kernels, under qemu (root; not part of test)
	@tools/kernels.sh

bench: setup ## Measure what tracing costs, on this machine (root)
	@tools/rivals.sh
	@set -e; for each in bench/[!_]*.py; do echo "== $$each"; $(PYTHON_RUN) $$each; done

probe: setup ## Compile the probe again after changing bpf/probe.c or wire.py (root)
	@$(BCC_PYTHON) -m lambdatrace.bpf.compile

preload-clients: setup ## Try clients of Node, Java and Python with it (root; ARGS="PYTHON[=PACKAGES] …")
	@$(PYTHON_RUN) tests/support_clients.py $(ARGS)

preload-arm64: setup ## Run the library for arm64 under qemu's user emulation (root; not part of test)
	@tools/preload_arm64.sh

man: setup ## Write the man page again after changing a command's help
	@mkdir -p man
	@$(PYTHON_RUN) -m lambdatrace.cli.manual >man/lambdatrace.1

preload: setup ## Compile the preloaded library again after changing preload/src or wire.py
	@$(PYTHON_RUN) -m lambdatrace.preload.build

pr: format test ## Everything a reviewer would run

clean: ## Remove what was built, keep what was fetched
	@rm -rf .venv .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
