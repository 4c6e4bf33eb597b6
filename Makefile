# Everything runs in .venv, made from a fresh clone by whatever target is called first.
# VENV and EXTRAS can be set: make test EXTRAS=dev,s3,hf,train

VENV ?= .venv
EXTRAS ?= dev,s3,train
PYTHON ?= python3
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed-$(subst $(COMMA),-,$(EXTRAS))
COMMA = ,
UV := $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet
endif

# uv knows wheel directories by another name than pip does.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

.PHONY: setup demo train-tiny test test-all lint format bench peers installed-peers constraints clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
ifneq ($(UV),)
	test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11' $(VENV)
else
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
endif
	$(INSTALL) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: $(STAMP)
	$(BIN)/acetate demo --out demo

# Ten thousand designs of 64 px, a dataset, 12,000 steps and an evaluation; each is gone on with when given again.
train-tiny: $(STAMP)
	test -f tiny/designs/manifest.csv || $(BIN)/acetate synth tiny/designs --count 10000 --seed 7 --profile tiny
	$(BIN)/acetate build --manifest tiny/designs/manifest.csv --out tiny/dataset --set run.unit_size=250
	$(BIN)/acetate train infra/examples/train-tiny.yaml
	$(BIN)/acetate evaluate infra/examples/evaluate-tiny.yaml

# Two processes, each with whole files of tests: a session's servers and datasets are made once in each.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP)
	$(PYTEST) -m 'not gpu'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	for script in $(filter-out %/__init__.py,$(wildcard infra/bench/*.py)); do \
		$(BIN)/python -m "$$(echo "$${script%.py}" | tr / .)" || exit 1; \
	done

# What infra.bench.stream is measured against, apart: it brings a torchvision that does not load beside this torch.
peers:
	$(MAKE) installed-peers VENV=.venv-peers

installed-peers: $(STAMP)
	$(INSTALL) --requirement infra/bench/peers.txt

# Resolved from the public index alone, for every platform: wheel directories of this machine are left out.
constraints:
	@test -n "$(UV)" || { echo "make constraints needs uv: pip install uv"; exit 2; }
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(UV) pip compile --quiet --universal --python-version 3.11 --all-extras \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --strip-extras --upgrade \
		pyproject.toml --output-file .constraints.tmp >/dev/null
	{ echo "# Every package this project may install, pinned, for every platform and Python 3.11 or newer."; \
	  echo "# Made from pyproject.toml by 'make constraints'; do not edit."; cat .constraints.tmp; } > constraints.txt
	rm -f .constraints.tmp

clean:
	rm -rf build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
