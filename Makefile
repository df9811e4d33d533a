# Every target makes its own virtual environment in .venv. PYTHON=python3.12 chooses another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check slow docs results benchmarks clean

# The main job, on digits as a folder of pictures: look at it, fine-tune, evaluate, predict.
demo: START := $(shell date +%s)
demo: $(VENV)/.installed
	$(BIN)/python recipes/digits_folder.py runs/demo-digits
	$(BIN)/kzoo info runs/demo-digits
	$(BIN)/kzoo finetune mnist_net runs/demo-digits --run-dir runs/demo --overwrite
	$(BIN)/kzoo evaluate runs/demo --save runs/demo-mistakes
	$(BIN)/kzoo predict runs/demo runs/demo-digits/test/*/test_000?.png --top 2
	@echo "make demo took $$(($$(date +%s) - $(START))) s, its set-up included"

# All tests but the slow ones, in two processes: most of a test's time is one thread of Python's.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

# Formatting, lint, types, the direction of imports.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# The tests that take minutes each, and the record of them, docs/slow_tests.md.
slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow --junitxml=build/slow.xml $(PYTEST_ARGS); status=$$?; \
	$(BIN)/python docs/tools/slow_tests_table.py build/slow.xml; exit $$status

# The tables and pictures of docs/ that are counted, not measured.
docs: $(VENV)/.installed
	for tool in depth_tables weights_table zoo_table; do $(BIN)/python docs/tools/$$tool.py || exit; done

# The results of the recipes' runs, docs/results.md: read from the run directories in RUNS.
RUNS ?= runs
results: $(VENV)/.installed
	$(BIN)/python docs/tools/results_table.py $(RUNS)

# kzoo against Keras's augmentation, and against the workflow of Keras's transfer-learning guide.
# TRANSFER='inception_v1 PHOTOS --weights imagenet' takes another model, dataset and weights.
TRANSFER ?= mnist_net digits --weights mnist
benchmarks: $(VENV)/.installed
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/transfer.py $(TRANSFER)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kzoo needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist
