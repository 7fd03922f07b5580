# Two commands for a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test quick check bench readme docs lock clean

run: $(VENV)/.ready
	$(BIN)/streamlit run app.py

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest

# Without the slow tests, the browser and PostgreSQL: while writing.
quick: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --ignore tests/browser -m "not slow and not postgres"

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/interrogate app.py benchmarks db mitosis_core pages train
	$(BIN)/oxlint --deny-warnings pages/shared/viewer pages/shared/board
	mkdir -p .cache && cat pages/shared/viewer/*.js > .cache/viewer.js
	cat pages/shared/board/*.js > .cache/board.js
	$(BIN)/oxlint --no-ignore --deny-warnings -D no-undef .cache/viewer.js .cache/board.js  # one scope: names of one file are known in all

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.postprocess
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.readme

$(VENV)/.ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-scale.txt requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@

# The reference of the library, made from its docstrings, in docs/api.
docs: $(VENV)/.ready-dev
	$(BIN)/python -m docs.api_reference

# The releases in .venv, which the tests ran on, with the digests of all their files; nothing is downloaded.
lock: $(VENV)/.ready-dev
	$(BIN)/python -m pip freeze | grep == > $(VENV)/held.txt
	$(BIN)/uv pip compile requirements.txt --constraint $(VENV)/held.txt --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-config --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
