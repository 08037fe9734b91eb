# Two commands do everything on a bare Debian 12 with Python 3.11 and a C compiler:
#   make demo     see it work: a server, a few synthetic studies sent, found, decoded, every hash checked
#   make test     all checks: lint, types, C tests with and without sanitizers, Python tests, real peers, faults
# and then
#   make torture  the faults again and again, half an hour
#   make bench    measure it beside pydicom, fastdicom, DCMTK and pynetdicom; prints one table
#   make fuzz     every fuzz target under libFuzzer, ASan and UBSan, FUZZ_SECONDS each (60), FUZZ=one for only one
#   make soak     ten minutes of everything against each driver of the server: nothing may grow, nothing be lost
#   make clean    remove what these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STEP := .ci/step
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SOURCES := $(shell find src csrc/include csrc/base csrc/dataset csrc/pixel csrc/scan csrc/net csrc/store csrc/engine -type f \
             \( -name '*.py' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.c' -o -name '*.h' \) 2>/dev/null)
export PYTHON

.PHONY: demo test lint test-c test-python test-faults torture soak bench fuzz clean
.DEFAULT_GOAL := test

# ---- the environment --------------------------------------------------------------------------------------------------
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'dicore needs Python 3.11 or newer: make PYTHON=python3.11 ...'; exit 1; }
	@$(STEP) 'compiler, Python headers, zlib' .ci/need gcc=gcc libc6-dev=/usr/include/stdio.h zlib1g-dev=/usr/include/zlib.h \
	    'python3-dev=python:import sysconfig,os;open(os.path.join(sysconfig.get_paths()["include"],"Python.h"))' \
	    'python3-venv=python:import ensurepip,venv'
	@rm -rf $(VENV)
	@$(STEP) 'virtual environment' $(PYTHON) -m venv $(VENV)

# pip keeps what is installed, so that the second of the two only adds what the tests need
$(VENV)/.demo: $(BIN)/python pyproject.toml CMakeLists.txt $(SOURCES)
	@$(STEP) 'dicore built and installed in .venv' $(PIP) install --no-warn-script-location .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml CMakeLists.txt $(SOURCES)
	@$(STEP) 'dicore built and installed in .venv with its test peers' $(PIP) install --no-warn-script-location '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.test
	@$(STEP) 'benchmark peers' $(PIP) install --no-warn-script-location '.[bench]'
	@touch $@

build/.tools:
	@$(STEP) 'test tools, DCMTK, Orthanc, PostgreSQL' .ci/need dcmtk=storescp strace=strace cmake=cmake ninja-build=ninja pkg-config=pkg-config \
	    orthanc=Orthanc orthanc-dicomweb=/usr/share/orthanc/plugins/libOrthancDicomWeb.so postgresql=/usr/lib/postgresql dicom3tools=dciodvfy \
	    tshark=tshark nftables=nft iproute2=tc
	@mkdir -p build && touch $@

# ---- what people run --------------------------------------------------------------------------------------------------
demo: $(VENV)/.demo
	@$(BIN)/dicore demo

test: lint test-c test-python
	@echo '  ok     all of it: lint, types, C with and without sanitizers, Python, real peers, faults'

lint: $(VENV)/.test
	@$(STEP) 'ruff' $(BIN)/ruff check src tests benchmarks
	@$(STEP) 'mypy, strict' $(BIN)/mypy
	@$(STEP) 'stubs of the native modules' .ci/test-stubs $(BIN)/python

test-c: $(VENV)/.test build/.tools
	@$(STEP) 'C tests' .ci/test-c build/c
	@$(STEP) 'C tests under ASan and UBSan' .ci/test-c build/asan -DDICORE_SANITIZE=ON
	@$(STEP) 'C threads under TSan' .ci/test-c build/tsan -DDICORE_TSAN=ON

test-python: $(VENV)/.test build/.tools build/.disks
	@echo
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST)

# the faults with the counts of column A of docs/how-dicore-is-tested.md; `make test` does a part of them
test-faults: $(VENV)/.test build/.tools build/.disks build/asan/test_recover
	@DICORE_FAULTS=all $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/faults $(PYTEST)

# mixed services, aborts and hostile bytes against both drivers, SOAK_SECONDS each (600)
soak: $(VENV)/.test build/.tools
	@$(BIN)/python tests/soak.py

DICORE_TORTURE ?= 0.5
# ... and DICORE_TORTURE times those of column B (1: all of them). What came of it is in build/torture.jsonl
torture: $(VENV)/.test build/.tools build/.disks build/asan/test_recover
	@rm -f build/torture.jsonl
	@DICORE_TORTURE=$(DICORE_TORTURE) DICORE_FAULTS=torture DICORE_FAULTS_REPORT=$(CURDIR)/build/torture.jsonl \
	    $(BIN)/python -m pytest -q -n 2 --dist worksteal --timeout 3600 tests/faults $(PYTEST); status=$$?; \
	    $(BIN)/python tests/faults/faults.py build/torture.jsonl; exit $$status

build/asan/test_recover: $(VENV)/.test build/.tools
	@$(STEP) 'C tests under ASan and UBSan' .ci/test-c build/asan -DDICORE_SANITIZE=ON

# disks that fail: recorded, slow, shut down
build/.disks:
	@$(STEP) 'block logs, NBD, XFS, a clock that jumps' .ci/need qemu-system-common=qemu-storage-daemon nbdkit=nbdkit libnbd-bin=nbdfuse \
	    xfsprogs=mkfs.xfs e2fsprogs=mkfs.ext4 faketime=faketime
	@mkdir -p build && touch $@

bench: $(VENV)/.bench build/.tools
	@$(BIN)/python -m benchmarks.report $(BENCH)

FUZZ_SECONDS ?= 60
fuzz:
	@$(STEP) 'clang, zlib' .ci/need clang=clang zlib1g-dev=/usr/include/zlib.h
	@$(STEP) 'fuzz targets' .ci/fuzz $(FUZZ_SECONDS) $(FUZZ)

clean:
	rm -rf $(VENV) build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find src -name '*.so' -delete
