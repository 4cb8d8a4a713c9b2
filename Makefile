# The commands of the project. `make` alone lists them.

PYTHON ?= python3
PYTEST_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test lint smoke clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    install, train and evaluate the full method and one ablation, print the comparison'
	@echo 'make test    install, then lint, types, import contracts and tests (PYTEST_ARGS="-k low_pass" narrows)'
	@echo 'make lint    install, then lint, types and import contracts only'
	@echo 'make smoke   install, then the whole main job in miniature'
	@echo 'make clean   remove caches; keeps .venv, mlruns and outputs'

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
		|| { echo 'Python 3.11 or 3.12 is needed; name one with: make PYTHON=python3.12 ...' >&2; exit 2; }
	@echo 'installing into .venv (some 7 GB, a few minutes)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python -m experiments.demo

lint: $(INSTALLED)
	@echo 'ruff'
	@$(BIN)/ruff check --quiet .
	@echo 'mypy'
	@$(BIN)/mypy --no-error-summary
	@echo 'import contracts'
	@$(BIN)/lint-imports --no-logo

# One thread per worker, and no spinning at barriers: two workers share two cores. Tests of one file stay together, with
# what they share.
test: export OMP_NUM_THREADS = 1
test: export OMP_WAIT_POLICY = PASSIVE
test: lint
	@echo 'pytest'
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

smoke: $(INSTALLED)
	@echo 'smoke run of the main job'
	@$(BIN)/python -m experiments.run preset=smoke --fresh

clean:
	@rm -rf .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache build ./*.egg-info
	@find ablations directanimator experiments tests -name __pycache__ -prune -exec rm -rf {} +
	@echo 'caches removed'
