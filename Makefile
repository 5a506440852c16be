# Everything is made in a virtual environment of its own, .venv, from exact versions. PYTHON chooses the interpreter.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup repro test lint bench readme

setup: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

repro: setup  # GRID=benchmark puts that grid's values into params.yaml first; JOBS=4 or SCHEDULER=tcp://...: on Dask
	python stages/plan.py $(if $(GRID),grid $(GRID),check)
	$(if $(JOBS)$(SCHEDULER),python tools/parallel.py $(JOBS)$(SCHEDULER),dvc repro)

test: setup
	python -m pytest -n 2 --dist loadgroup

lint: setup
	ruff check .
	ruff format --check .
	mypy

bench: setup
	.venv/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	for script in $(filter-out bench/scale.py bench/gpu.py,$(wildcard bench/*.py)); do python $$script || exit 1; done

readme: setup  # the generated blocks of README.md and docs, from the committed reports
	python tools/readme.py
