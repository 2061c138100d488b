# Everything a developer does, from a machine that has make and Python 3.11 (or 3.12, 3.13, 3.14).

VENV ?= .venv
JOBS ?= 2
PYTHON ?=
ARGS ?=

BIN = $(VENV)/bin
LOCKED = $(VENV)/.locked
READY = $(VENV)/.ready
PEERS = $(VENV)/.peers
OURS = service migrations tests
PYTHONS = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
SUITABLE = import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))

.PHONY: help demo picture questions run test drill bench bare-debian check browser clients format lock dist clean

help:
	@echo 'make demo    try it: the service and a pretended Telnyx, nothing to set up (ONCE=1: end by itself)'
	@echo 'make picture docs/now.png: the page Now while something is wrong in the demo (needs Chromium)'
	@echo 'make questions  questions.sqlite3: the small ledger that docs/analysts.md asks its questions of'
	@echo 'make run     the service, configured by your environment'
	@echo 'make test    check, then the tests (JOBS=4 in parallel, ARGS="-k word" for pytest)'
	@echo 'make drill   100,000 callbacks on each kind of database, while everything is broken in turn'
	@echo 'make bench   how fast callbacks are kept, beside FastAPI, Fastify and a floor (QUICK=1: a trial)'
	@echo 'make bare-debian  the operators'\'' page, followed to the letter in a bare Debian (as root)'
	@echo 'make check   ruff, mypy, import-linter, deptry'
	@echo 'make format  let ruff format and mend'
	@echo 'make lock    requirements.lock from pyproject.toml (ARGS=--upgrade for newer versions)'
	@echo 'make dist    dist/: the wheel, and requirements.txt with what it needs to run, hashed'
	@echo 'make clean   away with $(VENV), dist and caches; data stays'
	@echo 'PYTHON=python3.12 and VENV=folder choose the interpreter and where it is installed.'

demo: $(READY)
	@$(BIN)/siprec-ledger demo $(if $(ONCE),--once)

picture: $(READY)
	@$(BIN)/python -m tests.bed.screenshot

questions: $(READY)
	@$(BIN)/python -m tests.questions questions.sqlite3

run: $(READY)
	@if [ -z "$$DATABASE_URL" ]; then \
	    export DATABASE_URL=sqlite:///ledger.sqlite3; \
	    echo "DATABASE_URL is not set: keeping everything in $$PWD/ledger.sqlite3"; \
	fi; \
	if [ -z "$$SPOOL_DIR" ] && [ "$$SPOOL" != off ]; then \
	    export SPOOL_DIR=spool; \
	    echo "SPOOL_DIR is not set: spooling to $$PWD/spool while the database is away"; \
	fi; \
	$(BIN)/siprec-ledger db upgrade && \
	exec $(BIN)/gunicorn -c python:service.gunicorn_conf 'service.app:web()'

# Many tests hold the service to its time limits. Those that failed (1) beside others have to pass by themselves.
test: check browser clients
	@$(BIN)/pytest -n $(JOBS) $(ARGS) || { [ $$? = 1 ] && echo 'once more, one after the other:' && \
	    $(BIN)/pytest -n 0 --last-failed --last-failed-no-failures none $(ARGS); }

drill: $(READY)
	@$(BIN)/python -m tests.drill --callbacks 100000 $(ARGS)
	@$(BIN)/python -m tests.drill --callbacks 100000 --postgresql $(ARGS)

bench: $(READY) $(PEERS)
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(ARGS)

bare-debian: dist
	@$(BIN)/python -m tests.bare_debian dist

check: $(READY)
	@$(BIN)/ruff check --quiet $(OURS)
	@$(BIN)/ruff format --quiet --check $(OURS) || { echo 'make format mends this'; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports >$(VENV)/log 2>&1 || { cat $(VENV)/log; exit 1; }
	@$(BIN)/deptry service migrations >$(VENV)/log 2>&1 || { cat $(VENV)/log; exit 1; }

browser: $(READY)
	@$(BIN)/python -m tests.bed.browser

clients: $(READY)
	@$(BIN)/python -m tests.clients

format: $(READY)
	@$(BIN)/ruff format $(OURS)
	@$(BIN)/ruff check --fix $(OURS)

lock: $(LOCKED)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	    --no-annotate --custom-compile-command 'make lock' $(ARGS) -o requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --group bench --generate-hashes \
	    --no-annotate --custom-compile-command 'make lock' $(ARGS) -c requirements.lock -o tests/bench/requirements.lock

dist: $(READY)
	@rm -rf dist
	@$(BIN)/hatchling build
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header -c requirements.lock -o dist/requirements.txt pyproject.toml

clean:
	@rm -rf $(VENV) tests/bench/node/node_modules tests/clients/node/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find $(OURS) -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps: a changed lock makes the folder anew, so that nothing dropped from it lingers;
# a changed pyproject.toml only installs us again.
$(LOCKED): requirements.lock
	@for python in $(PYTHONS); do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'None of these is a Python 3.11 to 3.14 that can make virtual environments: $(PYTHONS)' >&2; \
	    echo 'Name one with PYTHON=...; on Debian and Ubuntu it also needs the package python3-venv.' >&2; \
	    exit 1; \
	fi; \
	echo "Installing into $(VENV), once"; \
	"$$found" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes \
	    -r requirements.lock >$(VENV)/log 2>&1 || { cat $(VENV)/log; exit 1; }
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
	    -e . >$(VENV)/log 2>&1 || { cat $(VENV)/log; exit 1; }
	@touch $@

$(PEERS): tests/bench/requirements.lock $(LOCKED)
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes \
	    -r tests/bench/requirements.lock >$(VENV)/log 2>&1 || { cat $(VENV)/log; exit 1; }
	@touch $@
