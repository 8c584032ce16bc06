# Two commands for a fresh clone, with nothing but Python, pip and make:
#   make compare   are the PyTorch and Flax builds the same network, and which is faster here?
#   make test      every check of the project

PYTHON ?= python3
ARGS ?=
# By file, for what its tests share is then made once. `loadgroup` of pytest-xdist 3.8 groups nothing under pytest 9.2.
IN_PARALLEL := -n 2 --dist loadfile
REQUIRED := pytorch,flax_nnx,onnxruntime
# What `make coverage` runs and shows: all of it unless named.
TESTS ?=
PACKAGES ?=

VENV := .venv
GPU := $(shell { nvidia-smi -L || test -e /proc/driver/nvidia/version; } >/dev/null 2>&1 && echo -cuda)
COMMA := ,
EXTRAS := all$(if $(GPU),$(COMMA)cuda)
# Named after the extras, so that a machine that gets a GPU installs again.
INSTALLED := $(VENV)/.installed$(GPU)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help compare test coverage mutants bench faults results tables distances screenshots docs full lint clean
.DEFAULT_GOAL := help

help:
	@echo "make compare   check that the builds are equal, time them, and say which is faster (ARGS='unet_paper ...')"
	@echo "make test      lint, types, import contracts and all default tests"
	@echo "make coverage  lines and branches that the tests run, into docs/tests.md (TESTS=tests/parity PACKAGES=parity)"
	@echo "make mutants   small faults planted in the code that judges, into docs/tests.md; some minutes"
	@echo "make bench     the benchmarks alone (pytest --benchmark-only)"
	@echo "make full      the tests at full width and real sizes, minutes each"
	@echo "make faults    plant every fault of tests/meta/faults and print what catches it (a few minutes)"
	@echo "make results   write the README's table from the records in benchmarks/results"
	@echo "make tables    measure the distances in docs/parity.md again"
	@echo "make distances check random sound cases, and plot how far they and planted faults lie (an hour)"
	@echo "make screenshots  take the pictures in docs/images again (ARGS=report or ARGS=terminal)"
	@echo "make docs      the documentation as a site, into site/"
	@echo "make clean     remove the environment and the caches"
	@echo "Each installs into $(VENV) first, if need be; choose the Python with PYTHON=python3.12"

compare: $(INSTALLED)
	tandem compare $(ARGS)

test: lint
	pytest $(IN_PARALLEL) --require-backends $(REQUIRED) $(ARGS)

coverage: $(INSTALLED)
	coverage erase
	coverage run -m pytest $(IN_PARALLEL) --require-backends $(REQUIRED) $(TESTS)
	coverage combine --quiet
	python -m docs.suite coverage "$(TESTS)" "$(PACKAGES)"

mutants: $(INSTALLED)
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	mutmut run --max-children 2
	python -m docs.suite mutants

bench: $(INSTALLED)
	pytest --benchmark-only $(ARGS)

faults: $(INSTALLED)
	python -m tests.meta.faults --write $(ARGS)

results: $(INSTALLED)
	python -m docs.results

tables: $(INSTALLED)
	python -m docs.tables

distances: $(INSTALLED)
	python -m docs.distances $(ARGS)

screenshots: $(INSTALLED)
	python -m docs.screenshots $(ARGS)

# The warning is that mkdocs-material ends in 2027 in favour of Zensical, which takes the same mkdocs.yml.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

full: $(INSTALLED)
	pytest -m full --require-backends $(REQUIRED) $(ARGS)

lint: $(INSTALLED)
	ruff check
	ruff format --check
	pyright
	lint-imports

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; v = sys.version.split()[0]; (3, 11) <= sys.version_info < (3, 14) or sys.exit( \
		'Tandem needs Python 3.11 to 3.13 and $(PYTHON) is ' + v + '; name another one: make PYTHON=python3.12')"
	@echo "Installing into $(VENV); the first time this downloads the frameworks and takes a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) mutants site .coverage .pytest_cache .ruff_cache .hypothesis .import_linter_cache
