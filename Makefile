# make demo   the whole job on a made PET pair, results in build/demo
# make test   every test, style and types
# make slow   the tests that take minutes each
# make soak   twenty registrations in one process: does its memory grow?
# make study  the study of docs/results.md, about three hours; results in build/study
# make benchmarks  the figures of docs/performance.md; let nothing else run; with a real PET: make benchmarks PET=FILE
# make gpu    the same on a machine with an NVIDIA GPU
# make screenshots   the pictures of the panel in docs/images
# make clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# The virtual environment is ours: nothing from outside may leak into it.
unexport PYTHONPATH
unexport PYTHONHOME

.PHONY: demo test slow soak study benchmarks gpu lint screenshots clean

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

# Two methods that docs/results.md tells of are left out: they take too long on two cores.
STUDIED = identity,syn,syncc,elastix,elastix-level-1,elastix-level-2,elastix-level-3,greedy,convexadam,dl-voxelmorph,$\
	dl-lapirn,mirrba,mirrba-depth-1,mirrba-depth-2,mirrba-depth-4,mirrba-level-1,mirrba-level-2,mirrba-max,mirrba-up,$\
	mirrba-wo-rb,mirrba-wo-regu,mirrba-wo-archi,mirrba-depth-4-max-up,combined,combined-greedy,default,fast

study: build/study/cohort/pairs.tsv .venv/peers
	$(BIN)/mirrba experiment build/study/cohort -o build/study --methods $(STUDIED) --set spacing=16 --device cpu \
	    --threads 1 --workers 2

build/study/cohort/pairs.tsv: | $(READY)
	$(BIN)/mirrba phantom --pairs 8 --spacing 8 --seed 300 -o build/study/cohort

COMPARED = identity,truth,default,fast,greedy

benchmarks: .venv/peers
	$(BIN)/mirrba benchmark --pairs 10 --methods $(COMPARED) -o build/benchmark-6mm
	$(BIN)/mirrba benchmark --pairs 10 --spacing 8 --seed 800 --methods $(COMPARED),syn,syncc,elastix,convexadam -o build/benchmark-8mm
	$(BIN)/mirrba benchmark --pairs 20 --spacing 8 --seed 1000 --methods $(COMPARED),syn -o build/benchmark-8mm-fresh
	$(BIN)/mirrba benchmark --pairs 2 --spacing 4 --seed 600 --methods identity,truth,default,fast,syn -o build/benchmark-4mm
	$(BIN)/mirrba benchmark --pairs 4 --spacing 8 --seed 800 --methods default,mirrba -o build/benchmark-network
	$(if $(PET),$(BIN)/mirrba benchmark --pairs 0 --pet $(PET) --pet-pairs 10 --methods $(COMPARED) -o build/benchmark-pet)
	for place in build/benchmark-*mm* build/benchmark-network $(if $(PET),build/benchmark-pet); do for kind in json md; do \
		cp $$place/benchmark.$$kind benchmarks/results/$$(basename $$place).$$kind; done; done
	cp build/benchmark-8mm/benchmark.png benchmarks/results/benchmark-8mm.png
	$(BIN)/python benchmarks/lncc.py --windows 5,7,9 --repeats 1
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/operations.py
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/known_deformations.py
	$(BIN)/python benchmarks/ablation.py -o build/ablation --variants 22  # the last one takes ten times as long
	$(BIN)/python benchmarks/apart.py -o build/apart
	$(BIN)/python benchmarks/ends.py -o build/apart

gpu: $(READY)
	$(BIN)/python -m pytest Testing/test_cuda.py Testing/test_fused_fields.py
	$(BIN)/python benchmarks/lncc.py --device cuda --side 200
	$(BIN)/python benchmarks/operations.py --device cuda --side 200
	$(BIN)/python benchmarks/device.py
	$(BIN)/python benchmarks/cost.py --device cuda --sides 64,96,128,160,200 --iterations 100
	$(BIN)/mirrba benchmark --pairs 3 --spacing 4 --methods identity,truth,default,fast,mirrba --device cuda -o build/benchmark-gpu

# All peers: itk-elastix is 1.6 GB, which no test needs.
.venv/peers: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[baselines]"
	touch $@

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
