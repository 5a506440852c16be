# Everything is made in a virtual environment of its own, .venv, from exact versions. PYTHON chooses the interpreter.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# the folder of the grid GRID, the root where none is named; plan.py says which grids there are
FOLDER = $(if $(wildcard grids/$(GRID)/params.yaml),grids/$(GRID),.)
# uv installs in a sixth of pip's time, but knows none of pip's settings, such as an index of one's own: then pip does it
OF = --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
install = .venv/bin/uv pip install --python .venv/bin/python $(OF) || .venv/bin/pip install $(OF)

.PHONY: setup repro pull push verify test lint bench readme docs

setup: .venv/.complete

.venv/.complete: EXTRAS = pipeline,dev
.venv/.complete: pyproject.toml constraints.txt
	@echo "setup: installing the package and the exact versions of constraints.txt into .venv, once: a minute, some 7 GB"
	@echo "setup: most of it is CUDA's; docs/install.md says how to do without"
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt uv
	$(install)
	@echo "setup: done; source .venv/bin/activate brings deepclust, dvc and pytest into this shell"
	touch $@

# GRID=benchmark: that grid, in its own folder; JOBS=4 or SCHEDULER=tcp://...: stages side by side, on Dask
# ONLY='evaluate@usps-*': stages of such a name, and what they build on
repro: setup
	python stages/plan.py table $(GRID)
	cd $(FOLDER) && $(if $(JOBS)$(SCHEDULER)$(ONLY),python $(CURDIR)/tools/parallel.py $(or $(JOBS)$(SCHEDULER),1)$(if $(ONLY), '$(ONLY)'),dvc repro)
	python tools/compare.py $(GRID)

pull push: setup  # the results of GRID from, or to, the root's default remote
	python stages/plan.py table $(GRID)
	cd $(FOLDER) && dvc $@

verify: setup  # which committed results are of the code, settings and data as they are
	python tools/verify.py

test: setup  # three workers, on two cores too: much of the pipeline's tests is waiting
	python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

lint: setup
	ruff check .
	ruff format --check .
	mypy

bench: EXTRAS = pipeline,bench
bench: setup
	$(install)
	for script in $(filter-out bench/scale.py bench/gpu.py,$(wildcard bench/*.py)); do python $$script || exit 1; done

readme: setup  # the generated blocks of README.md and docs, from the committed reports, and the notebook's outputs
	python tools/readme.py
	python tools/notebook.py

docs: EXTRAS = docs
docs: setup  # the pages and the API as a site, work/site/index.html; any warning is an error
	$(install)
	mkdocs build --strict
