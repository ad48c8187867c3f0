# streetblur: `make demo` and `make test` need only Python 3.11, pip, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
OUTPUT ?= demo/output
WORKERS ?= 2

.PHONY: setup demo triton test lint nightly bench attack attackers quality peers lock clean

setup: $(VENV)/.installed  ## the environment in .venv/, with .venv/bin/streetblur

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "streetblur needs Python 3.11 to 3.13; name one with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/python -m pipeline.warm_up
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## blur real photographs (or INPUT=folder) into demo/output and show where they are
	$(BIN)/python -m evaluation.demo run $(if $(INPUT),--input '$(INPUT)') --output '$(OUTPUT)'

triton: setup  ## a real Triton server on this machine, in an environment of its own
	$(BIN)/streetblur serve --install

lint: $(VENV)/.installed-dev  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

attackers: $(VENV)/.installed-dev  ## what attackers need besides; without it their tests are skipped
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,attack]'

attack: attackers  ## try to bring back what the default policy redacts; four to five hours
	$(BIN)/python -m evaluation.irreversibility all --output irreversibility.json

test: lint  ## lint and all tests but the nightly ones, those of a file in one of WORKERS processes
	$(BIN)/python -m pytest -m "not nightly" -n $(WORKERS) --dist loadfile

nightly: $(VENV)/.installed-dev  ## the long suites: kill and chaos rounds, power failures at every operation, all of dev
	$(BIN)/python -m pytest -m nightly -rs --timeout 7200

bench: $(VENV)/.installed-dev  ## CPU of engine, allocator, features, runtimes, splicing and transports, as ratios
	$(BIN)/python -m evaluation.benchmarks.allocator
	$(BIN)/python -m evaluation.benchmarks.engine_overhead
	$(BIN)/python -m evaluation.benchmarks.features
	$(BIN)/python -m evaluation.benchmarks.runtimes
	$(BIN)/python -m evaluation.benchmarks.splice
	$(BIN)/python -m evaluation.benchmarks.triton_transport
	$(BIN)/python -m evaluation.benchmarks.triton_recovery

quality: setup  ## all of dev through the pipeline; fails when a figure is worse than the baseline, beyond noise
	$(BIN)/python -m evaluation.gate

peers: setup  ## deface, OpenCV's plate cascade and ours on dev, by one rule; installs the former into .peers/
	$(BIN)/python -m evaluation.peers --outputs peers-out --markdown docs/benchmarks/peers.md --json peers-out/peers.json

lock: $(VENV)/.installed-dev  ## write the versions of this environment into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:  ## remove what the targets above made
	rm -rf $(VENV) .peers peers-out demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
