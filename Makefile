# Two commands for a newcomer: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo notebooks test lint clean

help: ## What there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e . -c constraints.txt
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e '.[dev]' -c constraints.txt
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed ## From nothing to a verdict: trains, probes, compares, writes the page
	$(BIN)/llm4seg-probe demo

notebooks: $(VENV)/.installed-dev ## All notebooks; figures in reports/notebooks, executed copies in its runs/
	mkdir -p reports/notebooks/runs
	PYTHONWARNINGS='ignore:IProgress not found' $(BIN)/jupyter execute notebooks/*.ipynb --timeout=900 \
		--output='../reports/notebooks/runs/{notebook_name}'

test: $(VENV)/.installed-dev ## The whole test suite
	$(BIN)/python -m pytest -n logical --dist loadfile

lint: $(VENV)/.installed-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## Remove the environment and what was generated
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
