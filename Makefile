# Two commands need nothing typed before them: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# For all users, where the units of systemd see it: home directories are hidden from them.
PREFIX ?= /usr/local
INSTALLED := $(PREFIX)/lib/jarvis-recorder
# Recipes remove what is in these, and to a shell a name with a space is two.
$(foreach name,VENV PREFIX,$(if $(filter 1,$(words $($(name)))),,$(error $(name): one path without spaces, not "$($(name))")))
# Two recipes that install Debian packages would wait for each other's lock, and fail.
.NOTPARALLEL:
export PYTHONWARNINGS := ignore::DeprecationWarning:pip

# Nothing is resolved here, so that no later release of anything changes what is installed.
# pip before 23.3 needs --no-deps for that: to it a pin of `x` says nothing about `x[extra]`.
PIP_OPTIONS := --quiet --disable-pip-version-check --no-deps
PIP_INSTALL := install $(PIP_OPTIONS)
PIP_WHEEL := wheel $(PIP_OPTIONS)
LOCKED := --require-hashes
# What each part of the tests runs, and the Debian package that has it.
TEST_PARTS := \
	systemd-analyze:systemd systemd-nspawn:systemd-container chromium:chromium \
	firefox-esr:firefox-esr amqp-publish:amqp-tools cc:gcc /usr/include/stdio.h:libc6-dev \
	/usr/lib/*/libatomic.so.1:libatomic1
# Debian 13's buildah does nothing at all without netavark, which Debian only recommends.
IMAGE_PARTS := \
	buildah:buildah crun:crun debootstrap:debootstrap /usr/lib/podman/netavark:netavark

# Each worker has a node of its own, unless there is one broker for all tests. One more than there are
# processors: many tests wait.
WORKERS := $(if $(JARVIS_TEST_AMQP_URL),0,$(shell expr $$(nproc) + 1))

.PHONY: help demo demo-ui demo-cluster run install installed wheel test test-slow test-fast test-image test-version lint bench schemas docs picture lock clean

demo: $(VENV)/run rabbitmq  ## Play a stretch of cluster life and show what was recorded.
	$(BIN)/jarvis-recorder demo

demo-ui: $(VENV)/run rabbitmq  ## The same with the dashboard, until Ctrl-C.
	$(BIN)/jarvis-recorder demo --ui

demo-cluster: $(VENV)/run rabbitmq postgresql  ## Kill one of three brokers, a database and a recorder.
	$(BIN)/jarvis-recorder demo --cluster

run: $(VENV)/run rabbitmq  ## Run the recorder with a private broker, until Ctrl-C.
	$(BIN)/jarvis-recorder run --private-broker --set store.url=sqlite:///.run/recorder.db

install: python  ## Install for all users, as root; PREFIX is /usr/local.
	@umask 022 && $(MAKE) --no-print-directory installed

# What was installed before goes once all packages are there: the network and the disk may fail till then.
NEXT := $(INSTALLED).next
installed:
	$(PYTHON) -m venv --clear $(NEXT)
	$(NEXT)/bin/pip $(PIP_WHEEL) $(LOCKED) --wheel-dir $(NEXT)/wheels -r requirements-run.lock -r requirements-build.lock
	$(PYTHON) -m venv --clear $(INSTALLED)
	chmod 755 $(INSTALLED)
	$(INSTALLED)/bin/pip $(PIP_INSTALL) --no-index $(NEXT)/wheels/*.whl
	$(INSTALLED)/bin/pip $(PIP_INSTALL) --no-build-isolation .
	$(INSTALLED)/bin/pip check --disable-pip-version-check
	rm -rf $(NEXT)
	mkdir -p $(PREFIX)/bin $(PREFIX)/share/man/man1
	ln -sf $(INSTALLED)/bin/jarvis-recorder $(PREFIX)/bin/jarvis-recorder
	ln -sf $(INSTALLED)/share/man/man1/jarvis-recorder.1 $(PREFIX)/share/man/man1/jarvis-recorder.1

wheel: $(VENV)/run  ## Build the package, dist/*.whl and *.tar.gz.
	$(BIN)/python -m hatchling build

# The unit tests alone cover what coverage counts; to count the others, too, would double their time.
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 30
test: $(VENV)/ready rabbitmq test-parts  ## All but the slow ones; coverage of what reads strangers' bytes.
	$(BIN)/python -m pytest tests/unit -m "not slow" $(PARALLEL) --cov
	$(BIN)/python -m pytest --ignore tests/unit -m "not slow" $(PARALLEL)

test-slow: $(VENV)/ready rabbitmq test-parts  ## Kills, broken disks and networks, real browsers.
	$(BIN)/python -m pytest -m slow $(PARALLEL)

test-fast: $(VENV)/ready test-parts  ## The unit tests that are quick, on all cores.
	$(BIN)/python -m pytest tests/unit -m "not broker and not slow and not long" --numprocesses auto

test-image: $(VENV)/ready rabbitmq image-parts  ## The image, built on a base made from Debian; as root.
	$(BIN)/python -m pytest tests/integration/test_image.py

# What differs between versions: the exit codes, and all that is tried without a broker or a server.
test-version: $(VENV)/ready rabbitmq test-parts  ## With PYTHON=, in an environment of its own (VENV=).
	$(BIN)/python -m pytest tests/integration/test_exit_codes.py
	$(BIN)/python -m pytest -m "not broker and not slow" -k "not postgresql" --numprocesses auto

lint: $(VENV)/ready page-tools  ## Format, lint, types (bench/ too), import contracts, the page's code.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.run/page-tools/tsc --project .
	.run/page-tools/biome lint --error-on-warnings jarvis_recorder/gateway/static

bench: $(VENV)/ready rabbitmq  ## Measure the recorder next to its peers.
	$(BIN)/python -m bench --throughput --latency --memory --asking --rounds 5 --results bench/RESULTS.md

schemas: $(VENV)/ready  ## Write what is made from the code: schemas/, docs, the client's methods, the man page.
	$(BIN)/python tools/make-client
	$(BIN)/jarvis-recorder schema export schemas
	$(BIN)/python tools/make-docs
	$(BIN)/python tools/make-man

# The pages link to these as the repository has them.
DOCUMENTED := schemas deploy examples
docs: .venv-docs/ready  ## Build the site of docs/ in .run/site, every link and anchor checked.
	rm -rf .run/site
	.venv-docs/bin/zensical build --strict --clean
	tar -c --exclude=node_modules $(DOCUMENTED) | tar -x -C .run/site

picture: $(VENV)/ready rabbitmq test-parts  ## Take docs/dashboard.png again, from the demo.
	$(BIN)/python tools/make-picture

UV_COMPILE := .run/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: python  ## Resolve requirements*.lock again.
	$(PYTHON) -m venv .run/uv
	.run/uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(UV_COMPILE) --extra uvloop --extra gateway --extra otel --extra postgres --group dev \
		--output-file requirements.lock pyproject.toml
	$(UV_COMPILE) --constraint requirements.lock --extra uvloop --extra gateway --extra postgres \
		--output-file requirements-run.lock pyproject.toml
	printf 'hatchling\nhatch-fancy-pypi-readme\neditables\n' | $(UV_COMPILE) \
		--constraint requirements.lock --output-file requirements-build.lock -
	$(UV_COMPILE) --group docs --output-file requirements-docs.lock

# An environment whose Python does not see its packages, as after an upgrade of Debian, is made again;
# and with a new lock, of whose packages those of the older one might ask other versions.
stale = $(shell $(1)/bin/python -c 'import pip' 2>/dev/null || echo python)
LOCKS := requirements-run.lock requirements-build.lock requirements.lock

# What it runs with first, so that the demo waits for no more; then what it is tested with.
$(VENV)/run: $(LOCKS) pyproject.toml $(call stale,$(VENV))
	@$(MAKE) --no-print-directory python
	$(PYTHON) -m venv $(if $(filter-out pyproject.toml,$?),--clear) $(VENV)
	$(BIN)/pip $(PIP_INSTALL) $(LOCKED) -r requirements-run.lock -r requirements-build.lock
	$(BIN)/pip $(PIP_INSTALL) --no-build-isolation -e .
	$(BIN)/pip check --disable-pip-version-check
	@touch $@

$(VENV)/ready: $(VENV)/run
	$(BIN)/pip $(PIP_INSTALL) $(LOCKED) -r requirements.lock
	$(BIN)/pip check --disable-pip-version-check
	@touch $@

.venv-docs/ready: requirements-docs.lock $(call stale,.venv-docs)
	@$(MAKE) --no-print-directory python
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip $(PIP_INSTALL) $(LOCKED) -r requirements-docs.lock
	@touch $@

.PHONY: python rabbitmq postgresql test-parts image-parts page-tools
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/apt-install python3-venv

rabbitmq:
	@tools/get-rabbitmq

postgresql:
	@tools/get-postgresql

test-parts: postgresql
	@tools/get-parts $(TEST_PARTS)

page-tools: $(VENV)/ready
	@$(BIN)/python tools/get-page-tools

image-parts:
	@tools/get-parts $(IMAGE_PARTS)

help:  ## List these commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean:  ## Remove what these commands have made here.
	rm -rf .venv .venv-* .run .cache .coverage* .artefacts htmlcov dist
