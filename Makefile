# Two commands are enough: `make demo` and `make test`. Each sets up what is missing first.

# Empty: the newest Python on the PATH that fits. Else the one to take, by name or path.
PYTHON ?=
# Where torch alone comes from. Empty: the index of all packages, CUDA included.
TORCH_INDEX ?=
BIN := .venv/bin
INPUTS ?= 1000000
SEED ?= 1
SCHEDULES ?= 20
JOBS ?= 1
MINUTES ?= 60
# Files at a time. Twice as many as there are cores on two: tests wait for the broker and for workers.
LANES ?= 4
# With Python's compiled files, even where they are turned off: every lane and every worker would compile all sources anew.
TESTS = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(LANES) --dist loadfile --no-loadscope-reorder --durations=10
# Where the packages of `make docs` go: away from ours, so that set-up does not grow.
DOCS_VENV ?= .venv/docs
COMPILED := $(wildcard */native/*.pyx */native/*.pxd */native/*.hpp)

# A home directory that cannot be written: Kafka's jars go into .venv.
ifndef CASTSTREAM_DATA_DIR
DATA_DIR := $(shell sh tools/data-dir.sh)
ifneq ($(DATA_DIR),)
export CASTSTREAM_DATA_DIR := $(DATA_DIR)
endif
endif

.PHONY: help setup python wheel demo test test-slow test-arm check docs docs-packages audit fuzz cases faults bench bench-check soak overload failover dashboards train train-quick clean

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/.ready ## install everything: virtual environment, packages, Java, Kafka, two small data files; once

.venv/.ready: pyproject.toml constraints.txt setup.py $(COMPILED) | python
	@$(BIN)/python -m tools.set_up --torch-index '$(TORCH_INDEX)'
	@mkdir -p data
	@test -f data/signals.h5 || $(BIN)/caststream generate signals data/signals.h5 --samples 20 --seed 1
	@test -f data/castings.h5 || $(BIN)/caststream generate castings data/castings.h5 --casts 80 --seed 1
	@touch $@
	@echo "Set up. The command line is $(BIN)/caststream."

python:
	@sh tools/make-venv.sh '$(PYTHON)'

demo: setup      ## run all of it on this machine, live, and check it against the offline run; a minute
	@$(BIN)/caststream demo

test: setup      ## run the tests that guard a guarantee, on a real Kafka; 5 minutes
	@$(TESTS) -m "not slow"

test-slow: setup ## run the rest: fault schedules, wheel, examples, training, tests of benchmarks; 7 minutes
	@$(TESTS) -m slow

test-arm: setup  ## compare the kernels' bits on ARM, by an emulator; Debian: apt-get install g++-aarch64-linux-gnu qemu-user
	@$(TESTS) tests/test_arm.py

check: setup     ## check style, formatting, types and the rule of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_layers.py

wheel: setup     ## build an sdist, and a wheel made of it, in dist/
	@rm -rf build dist
	@$(BIN)/python setup.py --quiet sdist --dist-dir dist
	@$(BIN)/python -m tools.compiler $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls dist

docs: setup docs-packages ## write the generated pages and build the documentation as a site, in build/site
	@$(BIN)/python -m tools.docs --site build/docs
	@$(DOCS_VENV)/bin/zensical build --strict

docs-packages: python
	@test -x $(DOCS_VENV)/bin/zensical || { $(BIN)/python -m venv $(DOCS_VENV) && $(DOCS_VENV)/bin/python -m pip install \
		--quiet --disable-pip-version-check -c constraints.txt zensical; }

audit: python    ## look up the pinned packages in the published vulnerabilities; needs the internet
	@test -x .venv/audit/bin/pip-audit || { $(BIN)/python -m venv .venv/audit && \
		.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1; }
	@# --strict: a package that could not be looked up is a failure, not a package without vulnerabilities.
	@.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

fuzz: setup      ## feed made-up input to every reader, and damaged files: INPUTS=1000000 SEED=1; 15 minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)
	@OMP_NUM_THREADS=1 DAMAGES=20000 $(BIN)/python -m pytest tests/test_damaged_checkpoints.py
	@OMP_NUM_THREADS=1 EFFORT=20 $(BIN)/python -m pytest -m "not slow" tests/test_signals_native.py tests/test_batches.py \
		tests/test_audit.py tests/test_cuts.py tests/test_scorer.py tests/test_stepper.py
	@for round in 1 2 3 4 5; do OMP_NUM_THREADS=1 HISTORIES=200 $(BIN)/python -m pytest \
		--hypothesis-seed=$(SEED)$$round tests/test_stream_machine.py || exit 1; done

cases: setup     ## play what people reported of files, feeds and clusters: CASES="data-01 ops" for some
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.cases $(CASES)

faults: setup    ## let workers, broker, network and disk fail, and check every result: SEED=1 SCHEDULES=20; 12 minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.run --seed $(SEED) --schedules $(SCHEDULES) --jobs $(JOBS)

bench: .venv/.bench-ready ## run all benchmarks beside other programs, into benchmarks/results/latest.json; half an hour
	@$(BIN)/python benchmarks/bench_all.py

bench-check: .venv/.bench-ready ## compare the pipeline with the stored ratios; fails if one fell by more than 25 %
	@$(BIN)/python benchmarks/bench_all.py --check

# The peers' packages do not go with ours: a folder of their own, on the path of the peers alone.
.venv/.bench-ready: benchmarks/peers/requirements.txt | setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target .venv/peers -r benchmarks/peers/requirements.txt
	@touch $@

soak: setup      ## run a mixed load for MINUTES=60; fails if memory, files, tasks or latency grow, or an output is wrong
	@$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

overload: setup  ## send three times what a worker can do, a hot stream, a stream of garbage; half an hour
	@$(BIN)/python benchmarks/overload.py

failover: setup  ## kill, stop and add workers under load, and measure how long streams pause; half an hour
	@$(BIN)/python benchmarks/failover.py --streams 1000000

dashboards: setup ## write Grafana's dashboards from dashboards/pages.py
	@$(BIN)/python -m dashboards.generate

train-quick: setup ## train both models briefly, up to a stated quality; under 5 minutes
	@$(BIN)/python benchmarks/train_quick.py

train: setup     ## train both models as they ship, into models/; an hour
	@mkdir -p models
	@test -f data/train-signals.h5 || $(BIN)/caststream generate signals data/train-signals.h5 --samples 300 --steps 40000 --seed 1
	@test -f data/train-castings.h5 || $(BIN)/caststream generate castings data/train-castings.h5 --casts 40000 --seed 1
	@$(BIN)/caststream train signal data/train-signals.h5 --config examples/signal.toml --out models/signal.safetensors
	@$(BIN)/caststream train defect data/train-castings.h5 --config examples/defect.toml --out models/defect.safetensors

clean:           ## remove what set-up made here
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
