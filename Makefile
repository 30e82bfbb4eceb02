# Cairn: `make demo` shows the main job on an embedded lab, `make test` passes the tests.
# Everything lands in .venv; nothing outside this folder is touched.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.cairn-installed

.PHONY: venv demo failover test test-real quick laws lint bench model soak soak-lab docs clean

venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@tools/dev/make-venv "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m tools.lab.demo

failover: $(STAMP)
	@$(BIN)/python -m tools.lab.failover_demo

lint: $(STAMP)
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy

test: lint
	@tools/dev/system-packages sqlite3 gcc libc6-dev libzmq3-dev spin iproute2 apt-utils ganeti-os-noop \
		ganeti-instance-debootstrap openssh-client libwrap0 binutils qemu-system-x86 ovmf
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# Real LVM, DRBD and QEMU in three node VMs, as root; the first run makes their image (3 minutes).
# What comes after a failure would only fail because of it: a session is one story.
test-real: $(STAMP)
	@tools/dev/system-packages mmdebstrap qemu-system-x86 qemu-utils iproute2
	@$(BIN)/python -m pytest -x --durations=12 tests/real

quick: $(STAMP)
	@$(BIN)/python -m pytest -m "not acceptance"

# The laws with examples that no run has drawn before, again and again: make laws RUNS=50
RUNS ?= 10
laws: $(STAMP)
	@for run in $$(seq $(RUNS)); do \
		nice $(BIN)/python -m pytest -m property --hypothesis-profile drawn-anew || exit 1; done

bench: $(STAMP)
	@$(BIN)/python -m tests.bench

model: $(STAMP)
	@tools/dev/system-packages gcc libc6-dev spin
	@$(BIN)/python -m tests.model

# Simulated clusters, far more than a run of the tests has: make soak SEEDS=50000:100000
SEEDS ?= 0:50000
soak: $(STAMP)
	@nice $(BIN)/python -m tests.simulation --seeds $(SEEDS)

# Labs of real processes under faults, for hours: make soak-lab VOTERS=3 MINUTES=600
VOTERS ?= 5
MINUTES ?= 60
soak-lab: $(STAMP)
	@nice $(BIN)/python -m tests.acceptance.soak --voters $(VOTERS) --minutes $(MINUTES)

docs: $(STAMP)
	@$(BIN)/python -m tools.dev.catalogue
	@$(BIN)/python -m shell.manual_writer
	@$(BIN)/python -m tests.commands.opcodes_page

clean:
	rm -rf $(VENV) build .testbed *.egg-info
