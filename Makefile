# Two commands for a newcomer: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV ?= .venv
VENV_NNUNET ?= .venv-nnunet
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-check notebooks lab gpu-check table-check test test-slow test-nnunet fuzz test-lowest lint pages-check docs wheel clean
LOWEST := tests/package/test_tables.py tests/package/test_config.py
LOWEST_STATISTICS := $(wildcard tests/statistics/test_cases_*.py) $(addprefix tests/statistics/test_,\
	columns.py table_file.py comparison.py paired_tests.py exact_tests.py correlation.py \
	multiplicity.py verdicts.py equivalence.py)
COUNT ?= 5000
DEVICE ?= auto
SEED ?= 0

help: ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e . -c constraints.txt
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e '.[dev]' -c constraints.txt
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -e '.[docs]' -c constraints.txt
	touch $@

demo: $(VENV)/.installed ## From nothing to a verdict: trains, probes, compares, writes the page
	$(BIN)/llm4seg-probe demo

demo-check: $(VENV)/.installed ## Whether reports/demo-2-cores is what the demo gives (demo --quick, three minutes)
	fresh=$$(mktemp -d) && $(BIN)/llm4seg-probe demo --quick --out $$fresh/demo && \
		$(BIN)/python .ci/demo_check $$fresh/demo

notebooks: $(VENV)/.installed-dev ## All notebooks, run; copies with outputs in reports/notebooks/runs
	$(BIN)/python tests/notebooks/store.py

lab: $(VENV)/.installed-dev ## The notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

test: $(VENV)/.installed-dev ## The test suite, without what is slow
	$(BIN)/python -m pytest -n logical --dist loadfile -m 'not slow'

test-slow: $(VENV)/.installed-dev ## Interrupted sweeps, clusters, fuzzing, notebooks: what test leaves out
	$(BIN)/python -m pytest -n logical --dist loadscope -m slow

table-check: $(VENV)/.installed-dev ## The published tables in miniature, from archives to pages (made-up images, random layers)
	$(BIN)/python tests/rehearsal/published_table.py

# With the Python and torch that are there: nothing is installed or fetched.
gpu-check: ## A GPU from end to end, within 8 minutes, into reports/gpu; PYTHON=python3 DEVICE=auto
	PYTHONPATH=$(CURDIR) $(PYTHON) -m llm4seg_probe doctor --device $(DEVICE) --out reports/gpu

fuzz: $(VENV)/.installed-dev ## Thousands of malformed inputs; COUNT=5000 SEED=0
	$(BIN)/python tests/hostile/fuzz.py --count $(COUNT) --seed $(SEED)

test-lowest: ## Reading and statistics with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip --disable-pip-version-check install --quiet \
		$$($(PYTHON) .ci/lowest.py)
	$(VENV)-lowest/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -e .
	PYTHONPATH=tests $(VENV)-lowest/bin/python -m pytest -q -p no:cacheprovider --confcutdir=tests/statistics \
		-n logical -m 'not slow' $(LOWEST_STATISTICS)
	$(VENV)-lowest/bin/python -m pytest -q -p no:cacheprovider --noconftest $(LOWEST)

# An environment of its own: timm, which nnU-Net needs, brings torchvision, and PyPI's does not load
# beside a CPU build of torch until its operators are declared.
$(VENV_NNUNET)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_NNUNET)
	$(VENV_NNUNET)/bin/python -m pip --disable-pip-version-check install --quiet \
		-c constraints.txt torch
	$(VENV_NNUNET)/bin/python -m pip --disable-pip-version-check install --quiet \
		-c constraints.txt -e '.[nnunet]' pytest hypothesis
	$(VENV_NNUNET)/bin/python -m llm4seg_probe.integrations.nnunet.torchvision_schemas
	touch $@

test-nnunet: $(VENV_NNUNET)/.installed ## nnU-Net itself, from images to a verdict (some 15 minutes)
	OMP_NUM_THREADS=1 $(VENV_NNUNET)/bin/python -m pytest tests/integrations/test_nnunet_real.py

docs: $(VENV)/.installed-docs ## The documentation, from the code and docs/, into docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(VENV)/.installed-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: ## The package as it is published, built, installed in an empty environment, and tried there
	.ci/wheel $(PYTHON)

pages-check: $(VENV)/.installed-dev ## Every committed page in Chromium: links, texts, accessibility
	$(BIN)/python tests/reporting/check_pages.py reports

clean: ## Remove the environment and what was generated
	rm -rf $(VENV) $(VENV_NNUNET) build dist .pytest_cache .mypy_cache .ruff_cache
