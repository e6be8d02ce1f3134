# Every target first sets up .venv from pyproject.toml, if needed.

PYTHON ?= python3
BIN := .venv/bin
PYTEST ?=

# Most tests with real processes wait on a clock, so twice as many workers as cores keep the cores busy.
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS ?= $(shell echo $$((2 * $(CORES))))
DISTRIBUTED := --dist loadgroup --no-loadscope-reorder

# Targets that are too slow for `make test`; `make nightly` runs them all.
NIGHTLY := torture siege test-peers bench million soak drills coverage

.DEFAULT_GOAL := help
.PHONY: help demo check test nightly $(NIGHTLY) lint style types fast format docs catalogues golden simulate pictures lock clean

help:                        ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do \
	  printf '  make %-12s %s\n' "$$target" "$$what"; done

demo:                        ## see it work: no account, no key, one minute
	@if [ -e .venv/ready ]; then $(BIN)/wxgpt demo; else \
	  $(MAKE) --no-print-directory .demo/ready && .demo/bin/wxgpt demo; fi

check: .venv/ready           ## while you write: style, types and every test that starts no process
	@$(MAKE) --no-print-directory -j2 --output-sync=target types style fast

fast: .venv/ready            ## only the tests of `make check`
	$(BIN)/python -m pytest -q -n $(CORES) $(DISTRIBUTED) -m "not processes" $(PYTEST)

test: lint                   ## before you push: everything that runs offline, including real processes
	$(BIN)/python -m pytest -n $(WORKERS) $(DISTRIBUTED) $(PYTEST)

coverage: .venv/ready        ## nightly: the tests again, and which lines they run (40 min)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(DISTRIBUTED) $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

nightly: .venv/ready         ## everything too slow for `make test`, with one table of results
	@$(BIN)/python tests/nightly.py $(NIGHTLY)

torture: .venv/ready         ## nightly: damage the log as often as docs/reliability.md states (root, 30 min)
	WXGPTD_TORTURE=1 $(BIN)/python -m pytest -n $(WORKERS) $(DISTRIBUTED) tests/injuries

siege: .venv/ready           ## nightly: run each attack on the daemon for a minute (15 min)
	WXGPTD_SIEGE=60 $(BIN)/python -m pytest tests/siege

test-peers: .venv/ready      ## nightly: test against third-party model servers (installs 1 GB, 10 min)
	WXGPTD_PEERS=1 $(BIN)/python -m pytest tests/peers

bench: .venv/ready           ## nightly: run every benchmark in turn (15 min)
	for name in webhook hold replay log stream pages load outage window; do $(BIN)/python bench/$$name.py || exit 1; done

million: .venv/ready         ## nightly: a million users: start, memory, latency, snapshots (20 min, 4 GB of disk)
	$(BIN)/python bench/growth.py --users 100000,1000000 --seconds 5

drills: .venv/ready          ## nightly: kill, freeze and stop parts of a cluster, 20 times (25 min)
	PYTHONPATH=.:cli $(BIN)/python -m tests.cluster.drill --seeds 20

soak: .venv/ready            ## nightly: users come and go for half an hour: does anything grow? (30 min)
	$(BIN)/python bench/soak.py

lint: style types            ## style and types

style: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: .venv/ready
	$(BIN)/mypy

format: .venv/ready          ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/ready            ## generate the configuration reference and the manual
	PYTHONPATH=.:cli $(BIN)/python docs/generate.py

SEEDS ?= 1000

simulate: .venv/ready        ## run SEEDS seeds of the simulation, and continue where it was interrupted
	PYTHONPATH=.:cli $(BIN)/python -m tests.simulation.run --seeds $(SEEDS)
	PYTHONPATH=.:cli $(BIN)/python -m tests.simulation.cluster --seeds $$(($(SEEDS) / 5))

catalogues: .venv/ready      ## collect new texts of wxgpt for translation, and compile the translations
	PYTHONPATH=.:cli $(BIN)/python cli/catalogues.py

golden: docs                 ## accept today's output of every command, then review the difference
	WXGPTD_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/cli/test_golden.py

pictures: .venv/ready        ## draw the pictures in the READMEs from real runs
	PYTHONPATH=.:cli $(BIN)/python docs/pictures.py
	PYTHONPATH=.:cli $(BIN)/python docs/screenshots.py

lock: .venv/ready            ## update the lock files that the container installs from
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra cluster -o requirements.lock pyproject.toml
	echo hatchling | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header -o requirements-build.lock -

.venv/ready: pyproject.toml
	@echo "setting up .venv from pyproject.toml (once)"
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

.demo/ready: pyproject.toml
	@echo "setting up .demo with what wxgptd needs to run (once, about 125 MB)"
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) .demo && \
	  uv pip install --python .demo/bin/python .; \
	else \
	  $(PYTHON) -m venv .demo && \
	  .demo/bin/python -m pip install --disable-pip-version-check --progress-bar on .; \
	fi
	@touch $@

clean:                       ## remove everything that these targets created
	rm -rf .venv .demo .peers build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
