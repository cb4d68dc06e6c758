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

.PHONY: demo help check test core-tests other-tests concrete-tests flower-tests test-postgresql setup setup-concrete setup-flower setup-tools setup-cluster train compile
.PHONY: evaluate federated bench bench-federated load faults fuzz lint docs lock clean

demo: $(if $(CONCRETE_ENGINE),setup-concrete,setup)  ## start server, witness, parties and stage (the default target)
	@exec $(if $(CONCRETE_ENGINE),$(RUN_CONCRETE),$(RUN)) -m ui.demo

# The targets are those with a text after two number signs.
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

# Each process computes with one thread: there are more processes than cores, and the threads of
# OpenMP wait for each other actively.
check test core-tests concrete-tests flower-tests test-postgresql: export OMP_NUM_THREADS := 1

check: setup-tests lint  ## lint, types and the quick tests
	$(RUN) -m pytest $(PARALLEL) $(QUICK_TESTS)

# The checkers use one core, so they run beside the core tests; after them, the other environments
# are installed and their tests run. If one fails, the others still run to their end, and `make test`
# fails.
test: setup-tools  ## everything: lint, types and all tests
	@$(MAKE) --no-print-directory --jobs 2 --keep-going core-tests other-tests

other-tests: lint flower-tests concrete-tests

# Concrete computes without a pause: with a lower priority, it takes the time that the core tests
# leave while they wait.
concrete-tests: setup-concrete
	nice -n 5 $(RUN_CONCRETE) -m pytest $(PARALLEL) --numprocesses 1 $(CONCRETE_TESTS)

flower-tests: setup-flower
	$(RUN_FLOWER) -m pytest $(PARALLEL) --numprocesses 1 --confcutdir tests/flower tests/flower

# In a fresh clone one process compiles all modules, which else every process would do by itself.
core-tests: setup-tests
	@test -d tests/__pycache__ || $(RUN) -m pytest --collect-only -qq $(CORE_TESTS) >/dev/null || true
	$(RUN) -m pytest $(PARALLEL) $(CORE_TESTS)

# The server's tests again, with every server on PostgreSQL.
test-postgresql: setup-tools  ## the server's tests, with every server on PostgreSQL
	TRISEAL_TEST_ON_POSTGRESQL=1 $(RUN) -m pytest $(PARALLEL) tests/service

setup:  ## install the core environment, .venv
	@scripts/environment $(VENV) core $(PYTHON)

setup-training:  ## the same with XGBoost and what training needs
	@scripts/environment $(VENV) training $(PYTHON)

setup-tests:  ## the same with what the tests need
	@scripts/environment $(VENV) test $(PYTHON)

setup-tools: setup-tests  ## the same with Chromium, PostgreSQL and nginx, which tests start
	@scripts/install_chromium
	@scripts/install_axe
	@scripts/install_postgresql
	@scripts/install_nginx

setup-concrete:  ## install .venv-concrete, for the engines concrete and concrete_ml (6 GB)
	@test -x $(CONCRETE)/bin/python || echo "Concrete's libraries are about 6 GB: fetching them takes a minute or more."
	@scripts/environment $(CONCRETE) concrete $(PYTHON)

setup-flower:  ## install .venv-flower, for the Flower app
	@scripts/environment $(FLOWER) flower $(PYTHON)

setup-cluster: setup-tests  ## install what a Ray cluster needs

# Five lenders train one model together on this machine, which then decides on encrypted data.
federated: setup-training  ## train one model on the rows of five lenders
	@exec $(RUN) -m training.federated_demo $(OPTIONS)

train: setup-training  ## train the demonstration's model
	$(RUN) -m training.train

compile: $(if $(CONCRETE_COMPILE),setup-concrete,setup-training)  ## compile the trained model for the engines of ENGINES
	$(if $(CONCRETE_COMPILE),$(RUN_CONCRETE),$(RUN)) -m training.compile --engines $(ENGINES)

evaluate: $(if $(CONCRETE_ENGINE),setup-concrete,setup-training)  ## evaluate the deployed model on encrypted rows
	$(if $(CONCRETE_ENGINE),$(RUN_CONCRETE),$(RUN)) -m training.evaluate --engine $(TRISEAL_ENGINE)

bench: setup-training setup-concrete  ## measure all engines, and write the tables of the documents
	$(RUN) -m training.measure.benchmark --json deployment_files/benchmark.json --readme README.md docs/BENCHMARKS.md docs/PROTOCOL.md

bench-federated: setup-training  ## measure the training of several lenders
	$(RUN) -m training.measure.federated --json docs/federated.json --document docs/FEDERATED.md $(OPTIONS)

load: setup-tools  ## measure the server under load
	$(RUN) -m trials.load $(OPTIONS)

faults: setup-tools  ## try the server with injected failures
	$(RUN) -m trials.faults $(OPTIONS)
	$(RUN) -m trials.uses $(USES_OPTIONS)
	$(RUN) -m trials.federated $(FEDERATED_OPTIONS)

fuzz: setup-tools  ## try the decoders with random input, guided by coverage
	@scripts/environment $(VENV) fuzz $(PYTHON)
	$(RUN) -m tests.fuzz.coverage_guided $(OPTIONS)

lint: setup-tests  ## check style and types
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy .

docs: setup  ## write the generated documents
	$(RUN) -m scripts.write_docs

lock:  ## pin the packages of every environment (UPGRADE=1: the newest)
	@scripts/lock

clean:  ## remove the environments and all data of runs (.data)
	rm -rf $(VENV) $(CONCRETE) $(FLOWER) build .data
