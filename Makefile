# Every target makes .venv first, from requirements.lock; `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
READY := .venv/.ready

# Two threads per process on a busy machine were measured 40 to 200 times slower than one.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --retries 10 --progress-bar off
# Of pip's many lines, the large downloads.
BRIEF := awk '/Downloading .*\.whl.* \([0-9.]+ [MG]B\)/ { sub(/.*\//, "", $$2); print "      " $$2, $$3, $$4; fflush() }'
AGAIN := { echo "The installation stopped. Run the same command again: what came down is kept."; exit 1; }

# loadgroup: tests marked xdist_group share a process, all others spread over both.
TEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help book fresh test slow check bench nbgrader address lock

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

book: $(READY)  ## build the book: execute the notebooks that changed, render the pages
	@$(BIN)/clkit book

fresh: $(READY)  ## build the book from nothing: execute every notebook
	@$(BIN)/clkit book --fresh

test: $(READY)  ## run the tests: methods, contract, notebooks, built pages
	@$(TEST)

slow: $(READY)  ## run the slow tests: claims measured again, each method against its control
	@$(TEST) -m slow

check: $(READY)  ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(READY)  ## measure the speed against plain PyTorch loops
	@$(BIN)/clkit bench

nbgrader:  ## does nbgrader grade the masters of the exercises? in an environment of its own
	@$(PYTHON) -m venv .venv-nbgrader
	@.venv-nbgrader/bin/python -m pip install --quiet --disable-pip-version-check nbgrader==0.9.6 numpy
	@.venv-nbgrader/bin/python tools/nbgrader_check.py

address:  ## URL=https://github.com/OWNER/REPO: write the repository's address everywhere
	@$(PYTHON) tools/address.py "$(URL)"

lock: $(READY)  ## write requirements.lock anew from the versions in .venv
	@$(BIN)/python tools/lock.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "clkit needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "[1/3] making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "[2/3] installing $$(grep -c '==' requirements.lock) packages, a few minutes, once"
	@set -o pipefail; [ -z "$(TORCH_INDEX)" ] || \
	  $(INSTALL) --no-deps --index-url "$(TORCH_INDEX)" "$$(grep '^torch==' requirements.lock)" | $(BRIEF) || $(AGAIN)
	@set -o pipefail; $(INSTALL) -r requirements.lock | $(BRIEF) || $(AGAIN)
	@echo "[3/3] installing clkit"
	@$(INSTALL) --quiet --no-deps --no-build-isolation -e . || $(AGAIN)
	@touch $(READY)
