# `make` alone lists what there is. Every target first sees to its packages.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BOOTSTRAP := $(PYTHON) tools/bootstrap.py
BIN := .venv/bin
MANAGE := $(BIN)/python manage.py
UV ?= uv

# Given on the command line: make demo FILE=talk.mp3 MODEL=small PORT=8080
FILE ?=
ENGINE ?=
NAME ?=
PORT ?=
INSTALL ?=
# Left out: the best model that can be had; demo: the bundled toy.
MODEL ?=

ifneq ($(PORT),)
export WHISPERHUB_PORT := $(PORT)
endif

# The second engine is large, and installed only where it is asked for.
ENGINE_REQUIREMENTS := $(filter openai-whisper,$(ENGINE))
CHOICE := $(if $(MODEL),--model "$(MODEL)") $(if $(ENGINE),--engine "$(ENGINE)")

# make chaos MINUTES=30 DB=postgresql SEED=7
MINUTES ?= 10
DB ?= sqlite
SEED ?=
FLOOD ?=

# make fuzz CASES=10000 SEED=7
CASES ?= 10000

PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## List the targets
	@echo "Usage: make TARGET [FILE=recording] [MODEL=name] [ENGINE=faster-whisper|openai-whisper] [PORT=8000]"
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: ## Install what running, developing and testing need
	@$(BOOTSTRAP) base dev openai-whisper

.PHONY: demo
demo: ## Start everything, transcribe the bundled recording or FILE, show it, stop
	@$(BOOTSTRAP) base $(ENGINE_REQUIREMENTS)
	@$(MANAGE) rundemo $(if $(FILE),--file "$(FILE)") $(CHOICE)

.PHONY: run
run: ## Run the whole service on this machine until Ctrl-C
	@$(BOOTSTRAP) base $(ENGINE_REQUIREMENTS)
	@$(MANAGE) runstack $(CHOICE)

# The tests run and report last even when a check before them failed; SQLite, with the
# types beside it, is followed by the other databases, as far as they can be had.
.PHONY: test
test: ## Run all checks, and all tests on SQLite, MariaDB and PostgreSQL, as CI does
	@$(BOOTSTRAP) base dev openai-whisper
	@status=0; \
	$(MAKE_COMMAND) lint || status=$$?; \
	$(BIN)/python -m tools.test_matrix --beside "$(MAKE_COMMAND) types" || status=$$?; \
	exit $$status

.PHONY: unit integration e2e
unit: ## Run the tests that need Python only; NAME=word picks some
	@$(BOOTSTRAP) base dev openai-whisper
	@$(PYTEST) tests/unit $(if $(NAME),-k "$(NAME)")
integration: ## Run the tests with database, broker and media; NAME=word picks some
	@$(BOOTSTRAP) base dev openai-whisper
	@$(PYTEST) tests/integration $(if $(NAME),-k "$(NAME)")
e2e: ## Run the tests of the whole stack; NAME=word picks some
	@$(BOOTSTRAP) base dev openai-whisper
	@$(PYTEST) tests/e2e $(if $(NAME),-k "$(NAME)")

.PHONY: lint
lint: ## Check style, import layers, settings and migrations
	@$(BOOTSTRAP) base dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(MANAGE) check
	$(MANAGE) makemigrations --check --dry-run

.PHONY: format
format: ## Rewrite the code in the house style
	@$(BOOTSTRAP) base dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: ## Check the types
	@$(BOOTSTRAP) base dev
	$(BIN)/mypy .

.PHONY: services
services: ## Run only broker, Flower, MariaDB and PostgreSQL; INSTALL=1 installs what is missing
	@$(BOOTSTRAP) base
	@$(BIN)/python -m tools.services run $(if $(INSTALL),--install) -- $(MANAGE) runstack --only broker,flower

.PHONY: migrate
migrate: ## Bring the database up to date
	@$(BOOTSTRAP) base
	@$(MANAGE) migrate

.PHONY: workers
workers: ## Run the inference workers of WHISPERHUB_SLOTS
	@$(BOOTSTRAP) base $(ENGINE_REQUIREMENTS)
	@$(MANAGE) runworkers

.PHONY: dispatcher
dispatcher: ## Run a dispatcher
	@$(BOOTSTRAP) base
	@$(MANAGE) rundispatcher

.PHONY: lock
lock: ## Pin all requirements anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv (pip install uv)" >&2; exit 1; }
	@UV="$(UV)" sh tools/lock.sh base dev openai-whisper

.PHONY: messages
messages: ## Bring the translations up to date, and tell which are missing
	@$(BOOTSTRAP) base dev
	@$(BIN)/python -m tools.messages

.PHONY: bench
bench: ## Take the figures of docs/benchmarks.md; NAME=word picks some
	@$(BOOTSTRAP) base dev openai-whisper
	@$(BIN)/python -m benchmarks $(NAME)

.PHONY: chaos
chaos: ## Harm a service at random, check its books; MINUTES=10 DB=sqlite|mariadb|postgresql SEED=, FLOOD=2000
	@$(BOOTSTRAP) base dev
	@$(BIN)/python -m tests.chaos --minutes "$(MINUTES)" --database "$(DB)" $(if $(SEED),--seed "$(SEED)") $(if $(FLOOD),--flood "$(FLOOD)")

.PHONY: fuzz
fuzz: ## Send requests of all kinds to a whole service; CASES=10000 SEED=
	@$(BOOTSTRAP) base dev
	@$(BIN)/python -m tests.fuzz --cases "$(CASES)" $(if $(SEED),--seed "$(SEED)")

.PHONY: clean
clean: ## Delete .venv and var: packages, database, recordings, models, logs
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
