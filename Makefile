# The two commands of a bare machine: `make quickstart` and `make test`. Needs git, python3 with venv and
# the package index; everything goes into .venv and runs/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
LOCK := requirements.lock
QUICKSTART := runs/quickstart
# Processes of the quickstart's training; the global batch is the same for any number that divides it.
PROCESSES ?= 2

# Where it is set, each process that a test starts would compile the whole source anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: quickstart check test soak style types quick unit format gpu lock audit licences clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/installed
	@echo "1/5 shards: 25 of the 40 ORL people, aligned"
	$(BIN)/python -m pipeline.shard --dataset orl --size 64 --out $(QUICKSTART)/shards
	@echo "2/5 preview: what the network will see"
	$(BIN)/python -m pipeline.preview --shards $(QUICKSTART)/shards --out $(QUICKSTART)/preview.png
	@echo "3/5 training: recipe quickstart, $(PROCESSES) processes"
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --local-addr localhost --log-dir /dev/null --nproc-per-node $(PROCESSES) \
	    training/main.py --recipe quickstart --shards $(QUICKSTART)/shards --run-dir $(QUICKSTART)/run --resume
	@echo "4/5 evaluation: the 15 people held out, trained beside untrained"
	$(BIN)/python -m evaluation --orl --out $(QUICKSTART)/report \
	    --checkpoint $(QUICKSTART)/run/final.pt --checkpoint $(QUICKSTART)/run/checkpoints/step-0000000.pt
	@echo "5/5 done"
	@echo "report      $(QUICKSTART)/report/report.html"
	@echo "preview     $(QUICKSTART)/preview.png"
	@echo "checkpoint  $(QUICKSTART)/run/final.pt"

# Format, lint, types and the tests that start no process.
check: style
	$(MAKE) --jobs 2 types quick

# The same, and the tests that are marked slow, which start processes or train.
test: style
	$(MAKE) --jobs 2 types unit

style: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

quick: $(VENV)/installed-dev
	@echo "check: format, lint, types and the tests that start no process; about a minute and a half on two cores, the first time more"
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow and not soak"

unit: $(VENV)/installed-dev
	@echo "test: format, lint, types and all tests but those of make soak; about six minutes on two cores, the first time more"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not soak"

# Whole commands, kills, restarts, several machines and full disks: for a release, and for a change of what they are about.
soak: $(VENV)/installed-dev
	@echo "soak: the tests that take long; about five minutes on two cores"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m soak

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# All that only a GPU can show, in one go; without one it says so.
gpu: $(VENV)/installed-dev
	$(BIN)/python tests/gpu_report.py --out runs/gpu

# Pins with hashes of everything that the program needs, and of what that needs: the image is built from them. Run it after
# a change of requirements.txt, requirements-landmarks.txt or requirements-storage.txt; what needs no change stays.
lock: $(TOOLS)/installed
	grep -v '^-e' requirements.txt > $(TOOLS)/requirements.txt
	$(TOOLS)/bin/uv pip compile $(TOOLS)/requirements.txt requirements-landmarks.txt requirements-storage.txt --universal \
	    --python-version 3.11 --generate-hashes --no-annotate --quiet --custom-compile-command "make lock" --output-file $(LOCK)

# Known weaknesses of the locked packages; a package that cannot be looked up is a failure, too.
audit: $(TOOLS)/installed
	$(TOOLS)/bin/pip-audit --requirement $(LOCK) --disable-pip --require-hashes --strict --progress-spinner off

# The licence of each locked package, as docs/licences.md lists them.
licences: $(TOOLS)/installed
	$(TOOLS)/bin/python docker/licences.py $(LOCK)

clean:
	rm -rf runs

$(VENV)/installed: requirements.txt requirements-demo.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-demo.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt requirements-landmarks.txt requirements-storage.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

$(TOOLS)/installed: requirements-tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --requirement requirements-tools.txt
	touch $@
