# `make help` lists what can be made. Everything below builds in .venv and build/ only.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
RUN := build/run
ARGS :=
PYTEST_ARGS :=
SECONDS := 600
WORKERS := $(shell echo $$(($$(nproc) + 1)))
IMAGES := 20000
ROUNDS := 100
RELEASE := bookworm
CI_CACHE := $(or $(GEARSTORE_CI_CACHE),/var/cache/gearstore-ci)

.DEFAULT_GOAL := help
.PHONY: help run test test-main test-deb unit lint docs bench soak fuzz crash powercut deb clients clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  \t/p' Makefile | expand -t 18

run: $(VENV)/.run  ## start the server on build/run/gearstore.db; Ctrl-C ends it (options: ARGS='--port 4731')
	@mkdir -p $(RUN)
	@echo "Starting gearstore; its jobs are in $(RUN)/gearstore.db. Ctrl-C ends it, make run takes up where it left off."
	@echo "In another terminal:"
	@echo
	@echo "    cd $(CURDIR)"
	@echo "    $(BIN)/gearstore submit fonctionJob 'params'"
	@echo "    $(BIN)/gearstore status | sort -n | column -t"
	@echo "    $(BIN)/gearstore work fonctionJob -- cat"
	@echo
	@exec $(BIN)/gearstore serve --db $(RUN)/gearstore.db $(ARGS)

test: $(VENV)/.dev  ## run all tests, with the real clients and on the Debians that can be installed (PYTEST_ARGS=...)
	@scripts/together "$(MAKE) --no-print-directory test-main" "$(MAKE) --no-print-directory test-deb"

test-main: $(VENV)/.dev $(VENV)/.fuzz clients  ## run all tests but those of the Debian package (WORKERS=0 for one at a time; PYTEST_ARGS=...)
	$(BIN)/python -m pytest --ignore=tests/packaging -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-deb: $(VENV)/.dev  ## run the tests of the Debian package only, as root (PYTEST_ARGS=...)
	@packaging/test-deb $(BIN)/python $(PYTEST_ARGS)

unit: $(VENV)/.dev  ## run the fast tests only
	$(BIN)/python -m pytest -m "not slow" --ignore=tests/acceptance -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict gearstore cli docs/make
	cd benchmarks && MYPYPATH=.. ../$(BIN)/mypy --strict .

docs: $(VENV)/.dev  ## make the man pages and the shell completions from the commands and docs/make/text
	$(BIN)/python -m docs.make

bench: $(VENV)/.dev  ## compare with gearmand, redis and beanstalkd, side by side (options: ARGS=...)
	@scripts/install-debian-clients bench
	$(BIN)/python benchmarks/bench.py $(ARGS)

soak: $(VENV)/.dev  ## run new seeds of the simulation (SECONDS=600)
	$(BIN)/python -m tests.simulation --soak $(SECONDS)

powercut: $(VENV)/.dev  ## cut the power of new records of the server (IMAGES=20000)
	$(BIN)/python -m tests.powercut $(IMAGES)
fuzz: $(VENV)/.dev $(VENV)/.fuzz  ## look for bytes that break the server (SECONDS=600 ARGS='--processes 2')
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

crash: $(VENV)/.dev  ## kill the server under load and count what is lost (ROUNDS=100)
	GEARSTORE_TEST_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/acceptance/test_crash_rounds.py

deb:  ## build the Debian package into build/deb, as root on any Debian, else on this one (RELEASE=trixie)
	@if [ "$$(id -u)" = 0 ]; then \
	    packaging/prepare $(RELEASE) && packaging/build-deb -n -r $(CI_CACHE)/$(RELEASE)-build build/deb; \
	else \
	    packaging/build-deb -n build/deb; \
	fi

clean:  ## remove everything that was made, also the jobs of make run
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf $(VENV)

# The real clients: Debian's packages, then those of PyPI and npm. Not a stamp: packages come and go.
clients: $(VENV)/.dev
	@scripts/install-debian-clients
	@if [ -f tests/acceptance/install_clients.py ]; then $(BIN)/python tests/acceptance/install_clients.py; fi

$(BIN)/python:
	@scripts/make-venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@$(PIP) install -e '.[uvloop]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@$(PIP) install -e '.[uvloop,dev]'
	@touch $@ $(VENV)/.run

# Without it, fuzzing goes on blindly: not every Python has a wheel of atheris.
$(VENV)/.fuzz: pyproject.toml | $(VENV)/.dev
	@$(PIP) install -e '.[fuzz]' 2>/dev/null || echo "there is no atheris for this Python: fuzzing will not look at coverage"
	@touch $@
