# What one does here; `make` alone lists it. Everything Python lives in .venv, everything Rust in cargo's target directory.
# PYTHON is used once, when .venv is made. IMAGES is a folder of JPEG and PNG files for `make run`.

PYTHON ?= python3
IMAGES ?=

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
CARGO ?= cargo

# How long `make soak` runs.
SECONDS ?= 300

# How often loom may take a thread off where it could go on: more finds more, and takes exponentially longer.
PREEMPTIONS ?= 2

# What the extension is built from; Python sources are not in it, they are installed in place.
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src actors python -name '*.rs' -o -name Cargo.toml)
PEERS := benches/python/peers
PEERS_SOURCES := Cargo.toml Cargo.lock $(shell find $(PEERS) -name '*.rs' -o -name '*.toml')
PYTHON_SOURCES := python/ironcliw python/jarvis_rust_core examples tests/python benches/python .ci

# The bindings' features, one at a time: each must build without the others.
FEATURES := python-bindings,simd-accel python-bindings,mimalloc python-bindings,quantized-ops python-bindings,endpoint \
	python-bindings,trace-messages python-bindings,abi3

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help build run test test-rust test-python loom shuttle asan valgrind fuzz lint lint-rust lint-python fmt doc features \
	bench bench-actors bench-await bench-memory bench-malloc soak wheel sdist test-wheel test-sdist clean

help: ## list the targets
	@echo 'make TARGET [PYTHON=python3.12] [IMAGES=folder]'
	@sed -n 's/^\([a-z-]*\):.*## /\1@/p' $(firstword $(MAKEFILE_LIST)) | awk -F@ '{ printf "  %-12s %s\n", $$1, $$2 }'

build: $(VENV)/.native ## build the extension in release mode into .venv

run: $(VENV)/.native $(VENV)/.demo ## run the demonstration: photographs and pages through the five actors
	$(BIN)/ironcliw run $(if $(IMAGES),"$(IMAGES)")

test: test-rust test-python ## run every test

test-rust: ## run the tests of the crates, with their doctests
	$(CARGO) test --workspace --locked
	$(CARGO) test -p ironcliw --features testkit --locked --lib --test testkit
	$(CARGO) test -p ironcliw --features testkit --locked --doc testkit
	$(CARGO) test --locked -p ironcliw --features trace-messages --test tracing

test-python: $(VENV)/.native $(VENV)/.demo $(VENV)/.test ## run the tests of the packages
	$(BIN)/python -m pytest

loom: ## check the interleavings of few threads at the mailbox, the reply slot, the executor and the pool's caches
	LOOM_MAX_PREEMPTIONS=$(PREEMPTIONS) RUSTFLAGS='--cfg ironcliw_loom' CARGO_PROFILE_RELEASE_LTO=off \
	$(CARGO) test --release --locked -p ironcliw -p ironcliw-actors --lib --no-default-features --target-dir target/loom loom

# One lives in 256 MiB, of which AddressSanitizer's own books take too much; one counts calls, of which it makes others; one
# fills the C library's heap, in the place of which it has its own.
ASAN_SKIPS := --skip in_a_control_group_the_level_rises --skip a_stack_begins_with_who_asked \
	--skip there_is_said_to_be_room

ASAN_POOL := allocator_may_return_null=1:detect_stack_use_after_return=0
# Freed memory waits in a quarantine whose lock the sanitizer leaves as it is in the child of a fork: held, at times.
ASAN_FORKS := quarantine_size_mb=0:thread_local_quarantine_size_kb=0

asan: ## run the runtime's and the pool's tests under AddressSanitizer and LeakSanitizer (Linux on x86-64 only)
	@[ "$$(uname -sm)" = 'Linux x86_64' ] || { echo "make asan needs Linux on x86-64, this is $$(uname -sm)" >&2; exit 1; }
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0 \
	$(CARGO) test --locked -p ironcliw --lib --tests --target x86_64-unknown-linux-gnu --target-dir target/asan -- $(ASAN_SKIPS)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0 \
	ASAN_OPTIONS=$(ASAN_POOL) \
	$(CARGO) test --locked -p ironcliw-actors --lib --target x86_64-unknown-linux-gnu --target-dir target/asan \
	-- $(ASAN_SKIPS) --skip fork pool leak
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0 \
	ASAN_OPTIONS=$(ASAN_POOL):$(ASAN_FORKS) \
	$(CARGO) test --locked -p ironcliw-actors --lib --target x86_64-unknown-linux-gnu --target-dir target/asan -- fork

# What is left out takes minutes there, and is run by `make asan`: property tests, load, forks of busy parents, gigabytes, and
# whatever reads a backtrace, for which it parses the debug information of the whole program.
VALGRIND_SKIPS := --skip fork --skip impossible --skip huge --skip no_system_holds --skip model --skip every_count \
	--skip never_share --skip compete --skip a_change_of_level --skip levels_choose --skip no_leak_at_any_level \
	--skip every_leak_level --skip tiny_channel --skip never_wrong --skip sawtooth --skip steady_leak --skip first_in_line \
	--skip can_be_used

valgrind: ## run the pool's and the leak tracker's tests under memcheck (Linux)
	@command -v valgrind > /dev/null || { echo 'make valgrind needs valgrind' >&2; exit 1; }
	$(CARGO) test --locked -p ironcliw-actors --lib \
	--config "target.'cfg(unix)'.runner = ['valgrind', '-q', '--error-exitcode=99', '--leak-check=full', '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite', '--fair-sched=yes']" \
	-- --test-threads=1 $(VALGRIND_SKIPS) pool:: leak::

shuttle: ## run random schedules of whole programs through the pool
	RUSTFLAGS='--cfg ironcliw_shuttle' CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
	$(CARGO) test --release --locked -p ironcliw-actors --lib --no-default-features --target-dir target/shuttle shuttle

# What cargo-fuzz sets, so that it need not be installed.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address -Cdebug-assertions
TIME ?= 60

fuzz: ## run random programs against the pool's model for TIME=60 seconds, or RUNS of them; RUNS=0: those kept (Linux on x86-64, with a C++ compiler)
	@mkdir -p target/fuzz/corpus
	RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0 RUSTFLAGS='$(FUZZ_FLAGS)' \
	$(CARGO) run --release --manifest-path actors/fuzz/Cargo.toml --target x86_64-unknown-linux-gnu --target-dir target/fuzz \
	--bin pool -- $(if $(RUNS),-runs=$(RUNS),-max_total_time=$(TIME)) -artifact_prefix=target/fuzz/ -timeout=30 target/fuzz/corpus actors/fuzz/corpus/pool

lint: lint-rust lint-python ## check format, lints, types and docs; a warning is an error

lint-rust: ## the same of the crates
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p ironcliw --all-targets --features testkit --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked --features ironcliw/testkit

lint-python: $(VENV)/.native $(VENV)/.demo $(VENV)/.test ## the same of the packages, and the stubs against the extension
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/mypy --strict python/ironcliw python/jarvis_rust_core examples .ci
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m mypy.stubtest ironcliw._native --mypy-config-file pyproject.toml --allowlist tests/python/stubtest.allow \
	--ignore-unused-allowlist

fmt: $(VENV)/.test ## format everything
	$(CARGO) fmt
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)
	$(BIN)/ruff format $(PYTHON_SOURCES)

doc: ## build the crates' documentation
	$(CARGO) doc --workspace --no-deps --locked --features ironcliw/testkit

bench: bench-actors bench-await bench-memory ## measure ours beside the peers; writes target/bench/

bench-actors: ## messages, asks, actors and Savina's programs, against actix, kameo, ractor, xtra and channels
	$(CARGO) run --release --locked -p ironcliw-bench --bin actors

bench-await: $(VENV)/.native $(VENV)/.bench $(VENV)/.peers ## awaits, against pyo3-async-runtimes, threads, pykka and Ray
	PYTHONPATH=benches/python $(BIN)/python -m awaits

bench-memory: $(VENV)/.native $(VENV)/.bench $(VENV)/.demo ## the buffer pool, against malloc, mimalloc, pools, numpy, OpenCV and Arrow
	$(CARGO) run --release --locked -p ironcliw-bench --bin memory
	PYTHONPATH=benches/python $(BIN)/python -m memory

bench-malloc: $(VENV)/.native $(VENV)/.demo ## the extension with mimalloc beside itself with the system's malloc
	rm -rf target/bench/mimalloc target/bench/system
	$(BIN)/maturin build --release --locked --out target/bench/mimalloc --interpreter $(BIN)/python
	$(BIN)/maturin build --release --locked --out target/bench/system --interpreter $(BIN)/python \
	--no-default-features --features python-bindings,abi3,simd-accel,quantized-ops,endpoint
	for each in mimalloc system; do $(BIN)/python -m pip install --disable-pip-version-check --no-deps \
	--target target/bench/$$each target/bench/$$each/*.whl; done
	PYTHONPATH=benches/python $(BIN)/python -m allocators target/bench/mimalloc target/bench/system

soak: ## the buffer pool under mixed sizes for SECONDS=300: resident bytes near leased ones, and no growth
	$(CARGO) run --release --locked -p ironcliw-bench --bin soak -- --seconds $(SECONDS)

# One wheel, for CPython 3.11 and later.
wheel: $(VENV)/.build ## make dist/*.whl
	$(BIN)/maturin build --release --locked --out dist --interpreter $(BIN)/python

sdist: $(VENV)/.build ## make dist/*.tar.gz
	$(BIN)/python .ci/packaging.py sdist

test-wheel: wheel ## run the tests of the packages on the wheel, with every CPython that is found
	$(BIN)/python .ci/packaging.py test-wheel

test-sdist: sdist ## build the source distribution in an empty folder
	$(BIN)/python .ci/packaging.py test-sdist

features: ## check that each cargo feature builds alone, and none
	$(CARGO) check --locked -p ironcliw --no-default-features
	$(CARGO) check --locked -p ironcliw --no-default-features --features testkit
	$(CARGO) check --locked -p ironcliw --no-default-features --features trace-messages
	$(CARGO) check --locked -p ironcliw-python --no-default-features
	$(CARGO) check --locked -p ironcliw-python --no-default-features --features python-bindings
	@set -e; for features in $(FEATURES); do echo "features: $$features"; \
	$(CARGO) check --locked -p ironcliw-python --no-default-features --features $$features; done

clean: ## remove everything that was built
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache python/ironcliw/_native*.so python/ironcliw/_native*.pyd
	$(CARGO) clean

# Stamps: each is touched when its work is done, so a second run does nothing.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo 'Ironcliw needs CPython 3.11 or newer as $(PYTHON); name another: make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The groups of pyproject.toml, `build` being what the build itself needs.
define GROUP
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
build = project["build-system"]["requires"] + project["project"]["dependencies"]
print(*{"build": build, **project["project"]["optional-dependencies"]}[sys.argv[1]], sep="\n")
endef
export GROUP

$(VENV)/.build $(VENV)/.demo $(VENV)/.test: $(VENV)/.%: pyproject.toml | $(VENV)/pyvenv.cfg
	@echo 'installing what "$*" of pyproject.toml asks for'
	@$(BIN)/python -c "$$GROUP" $* > $(VENV)/$*.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r $(VENV)/$*.txt
	@touch $@

$(VENV)/.native: $(RUST_SOURCES) pyproject.toml $(VENV)/.build
	@command -v $(CARGO) > /dev/null || { echo 'Ironcliw needs Rust: https://rustup.rs' >&2; exit 1; }
	env -u CONDA_PREFIX VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --locked
	@touch $@

# Not every peer has a wheel for every Python: the rows of one that does not install say so.
$(VENV)/.bench: pyproject.toml | $(VENV)/pyvenv.cfg
	@$(BIN)/python -c "$$GROUP" bench > $(VENV)/bench.txt
	@while read -r peer; do $(BIN)/python -m pip install --disable-pip-version-check "$$peer" || \
	echo "left out: $$peer" >&2; done < $(VENV)/bench.txt
	@touch $@

# For the benchmark alone: never part of the wheel.
$(VENV)/.peers: $(PEERS_SOURCES) $(VENV)/.build
	env -u CONDA_PREFIX VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --locked -m $(PEERS)/Cargo.toml
	@touch $@
