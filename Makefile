# Every target sets up .venv itself: once, and again when pyproject.toml or constraints.txt have changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
READY := .venv/.ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

# Tests never ask the Hub; tiny tensors on many threads only wait for each other. What is compiled once is kept: hundreds of
# tests start programs.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
OFFLINE := env -u PYTHONDONTWRITEBYTECODE HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

# One process more than there are cores, eight at most: there is always a test that waits for a program.
PROCESSES = $(shell $(PYTHON) -c "import os; print(min(8, 1 + (os.cpu_count() or 1)))")

.PHONY: help demo serve test coverage check format screenshots families clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Turn three prompts into MP4 files in out/
	@printf '%s\n' 'a red circle moving left' 'a blue square growing' 'a green triangle moving up' \
	    | .venv/bin/python -m cinelet generate --model embedded --duration 2 --seed 7 --prompts - --output out --force
	@echo
	@echo 'The videos are in out/. Next:'
	@echo '  .venv/bin/cinelet generate "a yellow square moving right" --open'
	@echo '  .venv/bin/cinelet models show embedded      what this small model can draw'
	@echo '  make serve                                  a page to make more of them in a browser'
	@echo '  docs/00-overview.md                         other models, Python, options'

serve: $(READY) ## Serve a page and an HTTP interface at http://127.0.0.1:8000
	@.venv/bin/python -m cinelet serve

test: $(READY) ## Run every test
	@$(OFFLINE) .venv/bin/python -m pytest --numprocesses $(PROCESSES) --dist worksteal --quiet --durations 12 --durations-min 60

coverage: $(READY) ## Run every test and list the lines and branches that none reaches
	@$(OFFLINE) .venv/bin/python -m pytest --numprocesses $(PROCESSES) --dist worksteal --quiet --cov --cov-report term

check: $(READY) ## Check style, types and import layers, as CI does
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy
	@.venv/bin/python -c 'from importlinter.cli import lint_imports_command as run; run()' --no-logo

format: $(READY) ## Rewrite the code in the project's style
	@.venv/bin/python -m ruff check --fix-only
	@.venv/bin/python -m ruff format

screenshots: $(READY) ## Take the documents' pictures of the page anew
	@$(OFFLINE) .venv/bin/python -m docs.screenshots

families: $(READY) ## Run every family of models and write the documents' table of them anew
	@found="$$(mktemp -d)"; trap 'rm -rf "$$found"' EXIT; \
	$(OFFLINE) FAMILY_FINDINGS="$$found" .venv/bin/python -m pytest --numprocesses $(PROCESSES) --dist worksteal --quiet \
	    tests/backends/diffusers/test_every_family.py -k makes_videos && .venv/bin/python -m docs.families "$$found"

clean: ## Remove caches and built packages; .venv and out/ stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	@find src tests benchmarks training -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY):
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: cinelet needs Python 3.11 or newer, and $(PYTHON) is not; say which one to use: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Setting up .venv, once. This downloads PyTorch and takes a few minutes.'
	@.venv/bin/python -c '' 2>/dev/null || '$(PYTHON)' -m venv --clear .venv || { echo 'error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@.venv/bin/python -m pip install -qq --constraint constraints.txt --editable '.[local,serve,quantization,tracing,dev]'
	@rm -f .venv/.ready-*
	@touch '$@'
