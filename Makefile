# make demo | test | pytest | lint | slow | mutants | bench | bench-linear | bench-poisson | clean | distclean
# Another interpreter: make test PYTHON=/path/to/python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The test runner's worker processes; two fit a small machine.
WORKERS ?= 2
BENCH ?= $(sort $(wildcard benchmarks/[a-z]*.py))
# An interpreter that has the rivals of bench-linear (docs/benchmarks.md), and further options of it.
RIVALS ?=
LINEAR ?=
TEST_EXTRAS := dev,mri,channels,amg,pinn
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
INPUTS := pyproject.toml constraints.txt sciml/_version.py

.DELETE_ON_ERROR:
.PHONY: demo test pytest lint slow mutants bench bench-linear bench-poisson clean distclean

demo: $(VENV)/.ready-demo
	$(BIN)/sciml demo

# One thread per worker: the workers already fill the cores.
test pytest slow: export OMP_NUM_THREADS = 1
test pytest slow: export OPENBLAS_NUM_THREADS = 1
# Modules are compiled as they are imported (see `install`): kept, or each process would do it again.
test pytest slow demo: export PYTHONDONTWRITEBYTECODE =

# Pyright keeps one core busy: beside the tests rather than before them.
test: $(VENV)/.ready-test
	@$(MAKE) --no-print-directory --jobs=2 lint pytest

# A file's tests stay in one worker: together, both would compile the kernels that it needs.
# Files in the order of tests/conftest.py: those that compile most come first, each kernel once.
pytest: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n $(WORKERS) -m slow --timeout 7200

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright sciml solvers
	$(BIN)/lint-imports

mutants: $(VENV)/.ready-test
	$(BIN)/python tests/mutation/run.py

bench: $(VENV)/.ready-bench
	@set -e; for script in $(BENCH); do echo "== $$script"; $(BIN)/python $$script; done

bench-linear: $(VENV)/.ready-bench
	$(BIN)/python benchmarks/linear.py $(if $(RIVALS),--rivals $(RIVALS)) $(LINEAR)

bench-poisson: $(VENV)/.ready-bench
	$(BIN)/python benchmarks/poisson.py

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache docs/_build
	find sciml solvers tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV)

# pip is the last thing venv installs, so its presence means a whole environment.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else \
	    "sciml: expected Python 3.11 or newer, got %s at %s: run make PYTHON=/path/to/python3.11" % (v, sys.executable))'
	@echo "sciml: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# torch first and exactly: a looser requirement may bring another build and gigabytes of CUDA.
# Not compiled: most modules are never imported, and pip would compile all of them on one core.
define install
	@echo "sciml: installing $(1) into $(VENV) (a few minutes the first time)"
	@$(PIP) install --no-compile -c constraints.txt torch==2.13.0
	@$(PIP) install --no-compile -c constraints.txt hatchling editables
	@$(PIP) install --no-compile -c constraints.txt --no-build-isolation -e $(2)
	@touch $@
endef

$(VENV)/.ready-demo: $(INPUTS) | $(BIN)/pip
	$(call install,sciml and pyamg,".[amg]")

$(VENV)/.ready-test: $(INPUTS) | $(BIN)/pip
	$(call install,sciml and its tests' tools,".[$(TEST_EXTRAS)]")
	@touch $(VENV)/.ready-demo

$(VENV)/.ready-bench: $(INPUTS) | $(BIN)/pip
	$(call install,sciml and the packages it is compared with,".[peers]")
	@touch $(VENV)/.ready-demo
