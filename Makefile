# Everything runs in .venv, which `make setup` makes; the other targets make it when it is missing.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python -W ignore::DeprecationWarning

.PHONY: demo test test-postgresql setup setup-test setup-cluster train compile evaluate bench load faults fuzz lint clean

demo: $(VENV)/.installed
	@exec $(RUN) -m ui.demo

test: setup-test lint
	$(RUN) -m pytest

# The server's own tests once more, every server on PostgreSQL.
test-postgresql: setup-test
	TRISEAL_TEST_ON_POSTGRESQL=1 $(RUN) -m pytest tests/service

setup: $(VENV)/.installed

setup-test: $(VENV)/.installed-test
	@scripts/install_chromium
	@scripts/install_postgresql

setup-cluster: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt -c constraints.txt

train: $(VENV)/.installed
	$(RUN) -m training.train

compile: $(VENV)/.installed
	$(RUN) -m training.compile

evaluate: $(VENV)/.installed
	$(RUN) -m training.evaluate

bench: $(VENV)/.installed
	$(RUN) -m training.benchmark --json deployment_files/benchmark.json --readme README.md docs/PROTOCOL.md

load: setup-test
	$(RUN) -m trials.load $(OPTIONS)

faults: setup-test
	$(RUN) -m trials.faults $(OPTIONS)

fuzz: setup-test
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt -c constraints.txt
	$(RUN) -m tests.fuzz.coverage_guided $(OPTIONS)

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

clean:
	rm -rf $(VENV) build .data

$(VENV)/.installed: requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed ($(PYTHON) was not found); install it, or call make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: the compiled libraries exist for it; call make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV): about 7 GB, a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt requirements-cluster.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt -r requirements-cluster.txt -c constraints.txt
	@touch $@
