# stevemin: `make chat` and `make test` are all it takes; `make help` lists the rest.

PYTHON ?= python3
SETUP = $(PYTHON) scripts/setup.py
BIN = .venv/bin
# Files go to one worker each, so that module fixtures (engines, stores) are made once.
PYTEST = pytest -n auto --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help chat install test campaign coverage lint check format lock bench peers screenshot clean dev python
# With -j, lint and tests would write over each other.
.NOTPARALLEL:

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16
	@echo
	@echo "  PYTHON=python3.12           the interpreter to use"
	@echo "  GPU=cuda|vulkan|metal|none  how llama.cpp is built; remembered, GPU=auto detects it again"
	@echo "  ARGS='...'                  more arguments for chat, test, campaign and bench: make test ARGS='-n 4 -k engine'"

chat: install ## set up if needed, then open the chat
	@$(BIN)/stevemin $(ARGS)

install: python ## set up .venv and compile llama.cpp, once
	@$(SETUP) install

test: dev ## install what the tests need and run them
	$(BIN)/python -m $(PYTEST) $(ARGS)

campaign: dev ## long fuzzing and soaks, with larger hypothesis profiles
	$(BIN)/python -m $(PYTEST) -m 'campaign or hypothesis' --hypothesis-profile campaign -o timeout=3600 $(ARGS)

lint: dev ## ruff, mypy and the import linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## lint, then test: what CI runs

format: dev ## format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: dev peers ## measure the engine beside llama.cpp's own tools: hours on two cores
	$(BIN)/python bench/run.py $(ARGS)

peers: python ## build llama-batched-bench and llama-server into bench/.peers
	@$(SETUP) peers

screenshot: dev ## draw the README's picture from the real application
	PYTHONPATH=. $(BIN)/python scripts/screenshot.py

lock: dev ## resolve all packages again and write requirements/ with their hashes
	$(BIN)/python scripts/lock.py $(ARGS)

coverage: dev ## run the tests and print line and branch coverage, subprocesses and threads included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

clean: ## remove everything that was set up or built here
	rm -rf .venv build dist bench/.peers .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

dev: python
	@$(SETUP) install --dev

python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: sudo apt-get install python3 python3-venv, or name another with PYTHON=..." >&2; exit 1; }
