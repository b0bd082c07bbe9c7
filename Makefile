# The verbs of the project; CI uses the same ones. Each does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
JOBS   ?= 3
DISTS  := protos sdk services/runtime services/identity services/profile services/segment services/collector cli \
          $(sort $(patsubst %/,%,$(dir $(wildcard plugins/*/pyproject.toml))))
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python
# Once here rather than at every start of a process: where nothing may be written beside the code, that takes seconds.
COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/(tests|geodata|carrierdata|tzdata|pip|setuptools)/' $(VENV)/lib $(DISTS)

.PHONY: help demo up test lint bench protos lock clean
help:            ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv: requirements-uv.lock
	@echo "Setting up $(VENV) (once) ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.installed: $(BIN)/uv requirements.lock $(addsuffix /pyproject.toml,$(DISTS))
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --offline $(addprefix -e ,$(DISTS))
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "Installing the development tools (once) ..." >&2
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@$(COMPILE)
	@touch $@

demo: $(VENV)/.installed   ## sample channels in, people and segments out; ARGS=--stay keeps it running, ARGS=--json prints one object
	@$(BIN)/sima demo $(ARGS)

up: $(VENV)/.installed     ## start PostgreSQL, identity, profile, segment and collector, and stay
	@$(BIN)/sima up $(ARGS)

test: $(VENV)/.installed-dev ## run the whole test suite
	@scripts/kubectl version --client >/dev/null || echo "There is no kubectl, so the manifests are not tested." >&2
	@$(BIN)/python scripts/dev-secrets >/dev/null
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

lint: $(VENV)/.installed-dev ## ruff, mypy, buf lint, generated code up to date
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy .
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/protos --check

protos: $(VENV)/.installed-dev ## regenerate protos/src from protos/sima
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/protos

bench: $(VENV)/.installed-dev ## print one JSON object per figure, each beside its floor
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/.installed-dev ## resolve requirements*.in again
	@for name in requirements-uv requirements requirements-dev; do $(BIN)/uv pip compile --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet $(ARGS) $$name.in -o $$name.lock; done

clean:           ## remove what the verbs made
	@rm -rf $(VENV) .tools .sima .mypy_cache .ruff_cache .pytest_cache .hypothesis
