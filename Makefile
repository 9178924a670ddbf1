# demo: repaint the example, without torch         test: the suite
# check: lint, types, import contracts             parity: the whole grid against diffusers
# pocket: train the embedded model                 setup: what these four need, in .venv
#
# Each installs what it needs the first time, and again when pyproject.toml has changed. PIP_FLAGS goes
# to pip, as in: make test PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu'
VENV ?= .venv
PYTHON ?= python3
PIP_FLAGS ?=
BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/installed
DEMO := .venv-demo
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check parity pocket setup

demo: $(DEMO)/installed
	@mkdir -p build
	@$(DEMO)/bin/overpaint run examples/summer.png "winter mountains at night" \
	  --seed 7 --output $(CURDIR)/build/demo.png --force

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest tests/cli tests/engines/tensorrt -m alone

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

parity: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 -m parity

pocket: $(INSTALLED)
	OMP_NUM_THREADS=$$(nproc) $(BIN)/python -m pocket.train

setup: $(INSTALLED)

define environment
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("overpaint needs Python 3.11 or \
	later, and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv $(@D)
endef

# torch comes first and by its exact version: only then does pip prefer a CPU build, where PIP_FLAGS
# names an index of them, to the plain index's newest, which brings gigabytes of CUDA.
# open_clip_torch carries the real CLIP merges; its dependencies are not wanted. StreamDiffusion is a
# peer of `overpaint bench --live`; it pins a diffusers of 2023, and runs with the newest.
$(INSTALLED): pyproject.toml
	$(environment)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(PIP_FLAGS) torch==2.13.0
	$(BIN)/pip install --quiet $(PIP_FLAGS) --editable '.[dev]'
	$(BIN)/pip install --quiet $(PIP_FLAGS) --no-deps open_clip_torch==3.3.0 streamdiffusion==0.1.1
	@touch $@

$(DEMO)/installed: pyproject.toml
	$(environment)
	$(DEMO)/bin/pip install --quiet $(PIP_FLAGS) --editable '.[cpu]'
	@touch $@
