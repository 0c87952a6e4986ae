# make demo   the whole job on a made PET pair, results in build/demo
# make test   every test, style and types
# make slow   the tests that take minutes each
# make soak   twenty registrations in one process: does its memory grow?
# make screenshots   the pictures of the panel in docs/images
# make clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# The virtual environment is ours: nothing from outside may leak into it.
unexport PYTHONPATH
unexport PYTHONHOME

.PHONY: demo test slow soak lint screenshots clean

demo: $(READY)
	$(BIN)/python Testing/demo.py -o build/demo

test: $(READY) lint
	$(BIN)/python -m pytest

slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 3600

screenshots: $(READY)
	$(BIN)/python Testing/screenshots.py -o docs/images

soak: $(READY)
	$(BIN)/python Testing/soak.py -o build/soak.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else 'MIRRBA needs Python 3.11 to 3.13, not %d.%d: run make PYTHON=python3.11' % v)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[slicer,baselines-light,cohort,dev]"
	touch $@

clean:
	rm -rf .venv build
