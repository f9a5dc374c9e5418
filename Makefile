# `make check` is what continuous integration runs, without root and on the working tree.
PYTHON ?= .venv/bin/python
.PHONY: install test format lint types oclgrind check

install:
	python3 tools/install.py pocl plot test dev

test:
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

# One process, because Oclgrind reports to one log; the marked tests choose small sizes.
oclgrind:
	tools/oclgrind $(PYTHON) -m pytest -n0 -m oclgrind

check:
	bash .ci/run --here
