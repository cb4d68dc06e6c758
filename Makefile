# Three environments: .venv runs everything except Concrete and Flower, which pin older libraries and
# are installed in .venv-concrete (about 6 GB) and .venv-flower (about 0.7 GB). Every target installs
# the environment that it needs.
PYTHON ?=
TRISEAL_ENGINE ?= levelled
VENV := .venv
CONCRETE := .venv-concrete
FLOWER := .venv-flower
FLAGS := -W ignore::DeprecationWarning
RUN := $(VENV)/bin/python $(FLAGS)
RUN_CONCRETE := $(CONCRETE)/bin/python $(FLAGS)
RUN_FLOWER := $(FLOWER)/bin/python $(FLAGS)
ENGINES ?= clear levelled
# Non-empty if one of the named engines needs the Concrete environment.
CONCRETE_ENGINE := $(findstring concrete,$(TRISEAL_ENGINE))
CONCRETE_COMPILE := $(findstring concrete,$(ENGINES))

# Without bytecode files, every process would compile its libraries again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

# In three processes, since many tests wait; a file's tests share what is expensive to make.
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder
# Their order is that of tests/conftest.py.
CORE_TESTS := $(filter-out tests/concrete tests/flower tests/__pycache__, \
	$(patsubst %/,%,$(wildcard tests/*/)) $(wildcard tests/test_*.py))
LONG_CONCRETE_TESTS := $(addprefix tests/concrete/test_,concrete.py sign_only.py \
	own_data_on_concrete.py application_with_concrete.py)
CONCRETE_TESTS := $(LONG_CONCRETE_TESTS) \
	$(filter-out $(LONG_CONCRETE_TESTS),$(wildcard tests/concrete/test_*.py))
# Tests that need no encryption at scale, browser, database server or Ray.
QUICK_TESTS := tests/features tests/model tests/engines tests/utils tests/parties/joint/test_protocol.py \
	tests/parties/test_store.py tests/service/http/test_upload_form.py tests/service/http/test_hosts.py \
	tests/service/http/test_problems.py tests/ui/test_texts.py tests/test_deployment_files.py \
	tests/test_docs.py tests/test_docs_security.py tests/test_layers.py tests/test_makefile.py \
	tests/test_requirements.py

.PHONY: demo check test core-tests other-tests concrete-tests flower-tests test-postgresql setup setup-concrete setup-flower setup-test setup-cluster train compile
.PHONY: evaluate federated bench bench-federated load faults fuzz lint docs lock clean

demo: $(if $(CONCRETE_ENGINE),setup-concrete,setup)
	@exec $(if $(CONCRETE_ENGINE),$(RUN_CONCRETE),$(RUN)) -m ui.demo

# Each process computes with one thread: there are more processes than cores, and the threads of
# OpenMP wait for each other actively.
check test core-tests concrete-tests flower-tests test-postgresql: export OMP_NUM_THREADS := 1

check: setup-tests lint
	$(RUN) -m pytest $(PARALLEL) $(QUICK_TESTS)

# The checkers use one core, so they run beside the tests, and after them those of the other
# environments; if one fails, the others still run to their end, and `make test` fails.
test: setup-test
	@$(MAKE) --no-print-directory --jobs 2 --keep-going core-tests other-tests

other-tests: lint concrete-tests flower-tests

concrete-tests: setup-concrete
	$(RUN_CONCRETE) -m pytest $(PARALLEL) --numprocesses 1 $(CONCRETE_TESTS)

flower-tests: setup-flower
	$(RUN_FLOWER) -m pytest $(PARALLEL) --numprocesses 1 --confcutdir tests/flower tests/flower

core-tests: setup-tests
	$(RUN) -m pytest $(PARALLEL) $(CORE_TESTS)

# The server's tests again, with every server on PostgreSQL.
test-postgresql: setup-test
	TRISEAL_TEST_ON_POSTGRESQL=1 $(RUN) -m pytest $(PARALLEL) tests/service

setup:
	@scripts/environment $(VENV) core $(PYTHON)

setup-training:
	@scripts/environment $(VENV) training $(PYTHON)

setup-tests:
	@scripts/environment $(VENV) test $(PYTHON)

setup-concrete:
	@test -x $(CONCRETE)/bin/python || echo "Concrete's libraries are about 6 GB: fetching them takes a minute or more."
	@scripts/environment $(CONCRETE) concrete $(PYTHON)

setup-flower:
	@scripts/environment $(FLOWER) flower $(PYTHON)

setup-test: setup-tests setup-concrete setup-flower
	@scripts/install_chromium
	@scripts/install_axe
	@scripts/install_postgresql
	@scripts/install_nginx

setup-cluster: setup-tests

# Five lenders train one model together on this machine, which then decides on encrypted data.
federated: setup-training
	@exec $(RUN) -m training.federated_demo $(OPTIONS)

train: setup-training
	$(RUN) -m training.train

compile: $(if $(CONCRETE_COMPILE),setup-concrete,setup-training)
	$(if $(CONCRETE_COMPILE),$(RUN_CONCRETE),$(RUN)) -m training.compile --engines $(ENGINES)

evaluate: $(if $(CONCRETE_ENGINE),setup-concrete,setup-training)
	$(if $(CONCRETE_ENGINE),$(RUN_CONCRETE),$(RUN)) -m training.evaluate --engine $(TRISEAL_ENGINE)

bench: setup-training setup-concrete
	$(RUN) -m training.measure.benchmark --json deployment_files/benchmark.json --readme README.md docs/BENCHMARKS.md docs/PROTOCOL.md

bench-federated: setup-training
	$(RUN) -m training.measure.federated --json docs/federated.json --document docs/FEDERATED.md $(OPTIONS)

load: setup-test
	$(RUN) -m trials.load $(OPTIONS)

faults: setup-test
	$(RUN) -m trials.faults $(OPTIONS)
	$(RUN) -m trials.uses $(USES_OPTIONS)
	$(RUN) -m trials.federated $(FEDERATED_OPTIONS)

fuzz: setup-test
	@scripts/environment $(VENV) fuzz $(PYTHON)
	$(RUN) -m tests.fuzz.coverage_guided $(OPTIONS)

lint: setup-tests
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy .

docs: setup
	$(RUN) -m scripts.write_docs

lock:
	@scripts/lock

clean:
	rm -rf $(VENV) $(CONCRETE) $(FLOWER) build .data
