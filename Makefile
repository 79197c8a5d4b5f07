# make quickstart   install, run the quickstart suite, print the leaderboard and where the pictures are
# make bench        install, measure speeds beside other libraries (at most 15 minutes), write results/perf
# make test         install, run the tests on all cores (minutes); make test-all adds the slow ones
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SUITE ?= suites/quickstart.yaml
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: install quickstart bench test test-all lint clean

install: $(VENV)/installed

# PIP_FLAGS lets a site add an index or a wheel folder; constraints.txt has the versions that are tested.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/python run_bench.py $(SUITE)

bench: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python tests/perf/speeds.py

test: install
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

test-all: install
	$(PYTEST) $(PYTEST_FLAGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
