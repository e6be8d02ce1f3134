# Everything sets up what it needs, in .venv, from pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-peers torture lint format docs lock bench clean

demo: .venv/ready            ## see it work: no account, no key, one minute
	@$(BIN)/wxgpt demo

test: lint                   ## all checks and tests that run offline
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/ready            ## style, types; the floors are a test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-peers: .venv/ready      ## talk to model servers of others, installed for it (minutes, 1 GB)
	WXGPTD_PEERS=1 $(BIN)/python -m pytest tests/peers

torture: .venv/ready         ## injure the log as often as docs/reliability.md says (half an hour, root)
	WXGPTD_TORTURE=1 $(BIN)/python -m pytest -q tests/injuries

docs: .venv/ready            ## what is made of the code: the configuration reference, the manual
	PYTHONPATH=.:cli $(BIN)/python docs/generate.py

lock: .venv/ready            ## requirements.lock anew: what the container and careful people install
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  -o requirements.lock pyproject.toml

bench: .venv/ready           ## every measurement, one after the other
	for one in bench/webhook.py bench/hold.py bench/replay.py bench/log.py bench/stream.py bench/pages.py bench/load.py; do $(BIN)/python $$one || exit 1; done

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

clean:
	rm -rf .venv .peers build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
