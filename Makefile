# The one list of commands; CI calls the same targets. Caches are outside of the checkout, under
# $(QFLOW_CACHE), and serve every checkout; what belongs to this one is .venv and _core.abi3.so.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# With another HOME (or none), the Rust toolchain is still where rustup put it.
REAL_HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
ifeq ($(HOME),)
HOME := $(REAL_HOME)
endif
export HOME
# A plain `rustc` leaves an empty .rustup in a new home.
ifeq ($(RUSTUP_HOME)$(wildcard $(HOME)/.rustup/toolchains/*),)
ifneq ($(wildcard $(REAL_HOME)/.rustup),)
export RUSTUP_HOME := $(REAL_HOME)/.rustup
endif
endif

export QFLOW_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/qflow
export CARGO_TARGET_DIR := $(QFLOW_CACHE)/target
export PIP_CACHE_DIR := $(QFLOW_CACHE)/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MYPY_CACHE_DIR := $(QFLOW_CACHE)/mypy
export RUFF_CACHE_DIR := $(QFLOW_CACHE)/ruff
export HYPOTHESIS_STORAGE_DIRECTORY := $(QFLOW_CACHE)/hypothesis
# Tests start many interpreters; each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
  $$name -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { command -v $$name; break; }; done)
PYTHON := $(PYTHON)
key = $(shell { cat requirements/$(1).txt; $(PYTHON) -VV; echo $(PYTHON); } \
  | sha256sum | cut -c -12)
DEPS := $(QFLOW_CACHE)/venvs/dev-$(call key,dev)
BENCH = $(QFLOW_CACHE)/venvs/bench-$(call key,bench)
CRDT = $(QFLOW_CACHE)/venvs/crdt-$(call key,crdt)
AUDIT = $(QFLOW_CACHE)/venvs/audit-$(call key,audit)
site = $(wildcard $(1)/lib/python3.*/site-packages)

export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/.venv/bin:$(DEPS)/bin:$(PATH):$(REAL_HOME)/.cargo/bin:/usr/local/go/bin
# Not .venv's: that path changes with the checkout, and pyo3 would be built again for each.
export PYO3_PYTHON := $(DEPS)/bin/python

PY := .venv/bin/python
PYTEST := $(PY) -m pytest -o cache_dir=$(QFLOW_CACHE)/pytest \
  --benchmark-storage=file://$(QFLOW_CACHE)/benchmarks
# A file's tests stay in one process; most of them wait for the disk or for others.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
SIDE_BY_SIDE := $(PYTEST) -n $(WORKERS) --dist loadfile
LOCKED := .ci/locked
STEP := .ci/step
CARGO_LOCKED := $(if $(CI),--locked)
# qflow-python has no logic, and as an extension module nothing to link a test program with.
RUST_TESTED := --workspace --exclude qflow-python
BEGAN := $(shell date +%s)

N ?= 200
KILLS ?= 5
SEEDS ?= 100

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## compile the Rust core; .venv/bin/qflow and .venv/bin/python run this checkout
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with venv: make PYTHON=..." >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "cargo is missing: install rustup" >&2; exit 1; }
	@$(STEP) "build" $(LOCKED) .ci/build "$(PYTHON)" "$(DEPS)" $(CARGO_LOCKED)

.PHONY: test
test: build lint test-rust test-python ## everything that CI runs
	@$(STEP) "kill test, $(KILLS) kills" $(PY) tests/end_to_end/kill.py --times $(KILLS)
	@$(MAKE) --no-print-directory audit-deps
	@printf '\nmake test: all passed in %d s\n' $$(($$(date +%s) - $(BEGAN)))

.PHONY: lint
lint: build ## format, ruff, clippy, mypy --strict, and the stub of the Rust module
	@failed=0; \
	$(STEP) "ruff format" ruff format --check --quiet . || failed=1; \
	$(STEP) "ruff" ruff check --quiet . || failed=1; \
	$(STEP) "cargo fmt" cargo fmt --all --check || failed=1; \
	$(STEP) "mypy" $(PY) -m mypy || failed=1; \
	$(STEP) "stubtest" .ci/stubtest $(PY) || failed=1; \
	$(STEP) "clippy" $(LOCKED) cargo clippy --quiet --workspace --all-targets \
	  $(CARGO_LOCKED) -- -D warnings || failed=1; \
	exit $$failed

.PHONY: test-rust
test-rust: ## the tests of the crates
	@$(STEP) "cargo test" $(LOCKED) cargo test --quiet $(RUST_TESTED) $(CARGO_LOCKED)

.PHONY: go-programs
go-programs: build ## what others made, to check our log and to cosign it
	@.ci/need go golang-go
	@.ci/need ssh-agent openssh-client
	@$(STEP) "go programs" tests/compatibility/go/build .venv/go

.PHONY: kubo
kubo: build ## the real Kubo (.venv/go/ipfs) that tests start; minutes, once for each machine
	@.ci/need go golang-go
	@$(STEP) "kubo" tests/kubo/build .venv/go

.PHONY: test-python
test-python: build go-programs kubo crdt-rivals ## the tests of the package; ARGS="-k name" picks some
	@.ci/need strace strace
	@.ci/need soffice libreoffice-calc
	@QFLOW_TEST_RIVALS="$$(echo $(CRDT)/lib/python3*/site-packages)" \
	  $(STEP) "pytest" $(SIDE_BY_SIDE) $(ARGS)

.PHONY: demo
demo: build ## a real flow, killed in the middle, resumed, finished, verified
	@$(PY) examples/demo/run.py

.PHONY: kill-test
kill-test: build ## SIGKILL at N random moments under load, then resume and verify (N=200)
	@$(PY) tests/end_to_end/kill.py --times $(N)

.PHONY: ipfs-test
ipfs-test: build kubo ## an execution resumed from IPFS alone, and from a CAR and a key alone
	@$(PY) -m tests.end_to_end.ipfs

.PHONY: fault-test
fault-test: build ## every system call of an append and a checkpoint: EIO, ENOSPC, SIGKILL
	@.ci/need strace strace
	@QFLOW_TEST_FULL=1 $(PYTEST) -m faults -rA

.PHONY: attack-table
attack-table: build ## every known attack on a log, SEEDS times: who finds it (SEEDS=100)
	@$(PY) -m tests.attacks.table --seeds $(SEEDS) --write

.PHONY: state-attacks
state-attacks: build ## every known attack on stored states, SEEDS times (SEEDS=100)
	@$(PY) -m tests.attacks.stored.table --seeds $(SEEDS) --write

.PHONY: crdt-steps
crdt-steps: N = 100000
crdt-steps: build ## documents beside their specification, N steps (N=100000)
	@$(PY) -m tests.crdt.machine --steps $(N)

.PHONY: crdt-attacks
crdt-attacks: SEEDS = 20
crdt-attacks: build ## every known attack on documents, SEEDS times (SEEDS=20)
	@$(PY) -m tests.crdt.attack_table --seeds $(SEEDS) --write

.PHONY: mutants-crdt
mutants-crdt: build ## the core of documents with one fault at a time: all must be found
	@$(PY) -m tests.crdt.mutants.run

.PHONY: fuzz
fuzz: build ## the property tests of both languages with N cases each (N=200)
	@PROPTEST_CASES=$(N) $(STEP) "proptest" $(LOCKED) cargo test --quiet --release $(RUST_TESTED)
	@QFLOW_TEST_EXAMPLES=$(N) $(STEP) "hypothesis" $(PYTEST) -m hypothesis

.PHONY: bench
bench: build ## speed and memory beside the rivals, in one run
	@.ci/need '/usr/lib/postgresql/*/bin/initdb' postgresql
	@$(LOCKED) .ci/venv "$(PYTHON)" requirements/bench.txt "$(BENCH)"
	@PYTHONPATH="$$(echo $(BENCH)/lib/python3*/site-packages)" $(PY) benches/run.py $(ARGS)

.PHONY: crdt-rivals
crdt-rivals: build ## Loro, pycrdt and Automerge, in an environment of the cache
	@$(LOCKED) .ci/venv "$(PYTHON)" requirements/crdt.txt "$(CRDT)"

.PHONY: bench-crdt
bench-crdt: crdt-rivals ## documents beside Loro, pycrdt and Automerge: speed, sizes, memory
	@PYTHONPATH="$$(echo $(CRDT)/lib/python3*/site-packages)" $(PY) benches/run.py \
	  $(or $(ARGS),crdt crdt_memory)

.PHONY: crdt-oracle
crdt-oracle: crdt-rivals ## N random histories through Qflow and its rivals: the same values (N=200)
	@QFLOW_TEST_RIVALS="$$(echo $(CRDT)/lib/python3*/site-packages)" \
	  $(PY) -m tests.crdt.rivals --histories $(N)

.PHONY: wheel
wheel: build ## the distributable wheel, in dist/
	@$(LOCKED) maturin build --release --quiet --interpreter "$(PYO3_PYTHON)" \
	  --out dist $(CARGO_LOCKED)
	@ls -l dist

.PHONY: audit-deps
audit-deps: ## known vulnerabilities of the dependencies, as far as data is reachable
	@$(STEP) "audit of the dependencies" $(LOCKED) .ci/audit "$(PYTHON)" "$(AUDIT)"

.PHONY: format
format: build ## write the formats that lint asks for
	@ruff format --quiet .
	@ruff check --quiet --fix --select I,UP,F401 . || true
	@cargo fmt --all

.PHONY: lock
lock: ## pin the newest dependencies that pyproject.toml and Cargo.toml allow
	@.ci/lock "$(PYTHON)"
	@cargo update

.PHONY: clean
clean: ## remove what was built in this checkout; the cache of all checkouts stays
	@rm -rf .venv dist python/qflow/_core*.so
	@find python tests benches examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	@echo "the cache of all checkouts is $(QFLOW_CACHE)"
