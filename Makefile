# Everything a fresh machine needs is Python >= 3.10 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
MEMBERS := -e ".[dev]" $(foreach p,$(PLUGINS),-e $(dir $(p)))
# Rebuilt whenever a project file or the constraints change, reused otherwise.
READY := $(VENV)/.ready
# One single-threaded worker a core: the tests' tensors are too small to share a core's work.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(shell nproc 2>/dev/null || echo 2)

# Where a machine forbids bytecode, each of the hundreds of processes that tests start compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo picture test test-slow lint docs bench bench-peers clean

demo: $(READY)
	$(BIN)/flowloom run digits --out runs/digits

# The README's picture, from the files of the demo.
picture: $(READY)
	$(BIN)/python docs/picture.py runs/digits docs/digits.png

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict core registry $(wildcard plugins/*/src)

docs: $(READY)
	$(BIN)/python -m flowloom_registry.reference.page docs/contracts.md

$(READY): pyproject.toml constraints.txt $(PLUGINS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "flowloom needs Python 3.10 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch by itself first, so that its pinned build satisfies every other package's range.
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt hatchling
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation $(MEMBERS)
	touch $@

bench: $(READY)
	$(BIN)/python benchmarks/bench_step.py

# What some benchmarks measure beside; it asks for torch and is given the one that is there.
bench-peers: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[bench]"

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
