# Two commands need nothing typed before them: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
export PYTHONWARNINGS := ignore::DeprecationWarning:pip

.PHONY: demo demo-ui run test test-fast lint bench schemas lock clean

demo: .venv/ready rabbitmq  ## Play a stretch of cluster life and show what was recorded.
	$(BIN)/jarvis-recorder demo

demo-ui: .venv/ready rabbitmq  ## The same with the dashboard on top, going on until Ctrl-C.
	$(BIN)/jarvis-recorder demo --ui

run: .venv/ready rabbitmq  ## Run the recorder with a private broker, until Ctrl-C.
	$(BIN)/jarvis-recorder run --private-broker --set store.url=sqlite:///.run/recorder.db

test: .venv/ready rabbitmq systemd chromium  ## Everything, with coverage.
	$(BIN)/python -m pytest --cov --cov-report=term
	$(BIN)/coverage report --fail-under=95 \
		--include='*/ingest/*,*/wire/*,*/query/*,*/broker/receiver.py'

test-fast: .venv/ready systemd  ## What needs no broker, on all cores.
	$(BIN)/python -m pytest -m "not broker and not slow" --numprocesses auto

lint: .venv/ready  ## Format, lint, types, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready rabbitmq  ## The recorder beside its peers.
	$(BIN)/python -m bench

schemas: .venv/ready  ## Write schemas/ and the docs made from the code anew.
	$(BIN)/jarvis-recorder schema export schemas
	$(BIN)/python tools/make-docs

lock: .venv/ready  ## Resolve requirements.lock anew.
	$(BIN)/pip install --quiet "uv>=0.9"
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header \
		--extra uvloop --extra gateway --extra otel --group dev --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --constraint requirements.lock \
		--extra uvloop --extra gateway --output-file requirements-run.lock pyproject.toml
	echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--constraint requirements.lock --output-file requirements-build.lock -

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { echo "Python lacks venv: on Debian, apt install python3-venv as root"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: rabbitmq systemd chromium
rabbitmq systemd chromium:
	@tools/get-$@

clean:
	rm -rf .venv .run .coverage* .artefacts htmlcov
