# Everything runs in .venv, which `make setup` makes; the other targets make it when it is missing.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python -W ignore::DeprecationWarning
# What is installed is noted by the content of its lists: the times of files say nothing in a fresh
# clone beside a copied environment.
checksum = $(firstword $(shell cat $(1) | cksum))
INSTALLED := $(VENV)/.installed-$(call checksum,requirements.txt constraints.txt)
INSTALLED_TEST := $(VENV)/.installed-test-$(call checksum,requirements*.txt constraints.txt)

.PHONY: demo test test-postgresql setup setup-test setup-cluster train compile evaluate bench load faults fuzz lint clean

demo: $(INSTALLED)
	@exec $(RUN) -m ui.demo

test: setup-test lint
	$(RUN) -m pytest

# The server's own tests once more, every server on PostgreSQL.
test-postgresql: setup-test
	TRISEAL_TEST_ON_POSTGRESQL=1 $(RUN) -m pytest tests/service

setup: $(INSTALLED)

setup-test: $(INSTALLED_TEST)
	@scripts/install_chromium
	@scripts/install_postgresql

setup-cluster: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-cluster.txt -c constraints.txt

train: $(INSTALLED)
	$(RUN) -m training.train

compile: $(INSTALLED)
	$(RUN) -m training.compile

evaluate: $(INSTALLED)
	$(RUN) -m training.evaluate

bench: $(INSTALLED)
	$(RUN) -m training.benchmark --json deployment_files/benchmark.json --readme README.md docs/PROTOCOL.md

load: setup-test
	$(RUN) -m trials.load $(OPTIONS)

faults: setup-test
	$(RUN) -m trials.faults $(OPTIONS)

fuzz: setup-test
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt -c constraints.txt
	$(RUN) -m tests.fuzz.coverage_guided $(OPTIONS)

lint: $(INSTALLED_TEST)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

clean:
	rm -rf $(VENV) build .data

$(INSTALLED):
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed ($(PYTHON) was not found); install it, or call make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: the compiled libraries exist for it; call make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV): about 7 GB, a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(INSTALLED_TEST): | $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt -r requirements-cluster.txt -c constraints.txt
	@touch $@
