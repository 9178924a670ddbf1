# setup: an environment in .venv with everything   check: lint, types, import contracts
# test: the suite                                  parity: the whole grid against diffusers
# pocket: train the embedded model                 demo: repaint the example
VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
export OMP_NUM_THREADS ?= 1

.PHONY: setup check test parity pocket demo

# torch comes first and by its exact version: an open range would bring gigabytes of CUDA with it.
# open_clip_torch carries the real CLIP merges; its dependencies are not wanted.
setup:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps open_clip_torch==3.3.0

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test:
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/python -m pytest -m alone

parity:
	$(BIN)/python -m pytest --numprocesses 2 -m parity

pocket:
	OMP_NUM_THREADS=$$(nproc) $(BIN)/python -m pocket.train

demo:
	$(BIN)/overpaint run examples/summer.png "winter mountains at night" --output out.png --force
