# The developer's manual in one command: make help
.DEFAULT_GOAL := help
SHELL := /bin/bash
STACK := uv run python deploy/stack.py
# Without compiled bytecode every process compiles every import anew.
export UV_COMPILE_BYTECODE := 1

.PHONY: help setup check test proofs stack stack-down test-stack test-engines test-spark test-airflow bench soak demo clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install starberg and the development tools, as locked, into .venv
	uv sync --locked
	uv run pre-commit install

check: ## lint, formatting, types
	uv run ruff check
	uv run ruff format --check
	uv run mypy
	MYPYPATH=deploy uv run mypy deploy/*.py

test: ## the quick tests; no server is needed
	uv run pytest

proofs: ## random histories against a plain reading, planted defects, a kill at every step
	uv run pytest -m "proof and not stack and not engines" -n 2 --dist worksteal

stack: ## start MinIO, Nessie, PostgreSQL, toxiproxy and Trino without a container engine
	$(STACK) up
	@echo 'settings: eval "$$($(STACK) env)"'

stack-down: ## stop them; their data stays in .stack
	$(STACK) down

test-stack: ## the tests on real servers, which it starts and stops itself
	uv run pytest -m stack

test-engines: ## the tables read by Trino and Spark, and built by Spark; it fetches them (1.3 GB, once; 40 minutes)
	uv run --extra spark pytest -m engines

test-spark: ## the tests once more, with Spark building the tables of all that run in their process (an hour)
	uv run --extra spark pytest -n 2 --computing spark

test-airflow: ## the generated DAGs in a real Airflow, which it installs into an environment of its own
	uv run pytest -m airflow

bench: ## measure against the recorded baselines
	uv run python -m benchmarks && uv run python -m benchmarks.postgres && uv run python -m benchmarks.upkeep
	uv run --extra spark python -m benchmarks.scale

soak: ## the property tests, thousands of histories; their seeds are printed
	uv run pytest -v tests/properties -m "not stack" --hypothesis-profile soak --hypothesis-show-statistics -n 2

demo: ## the README's demo
	uv run starberg demo

clean: ## stop the servers, remove their data, caches and build output; .venv stays
	$(STACK) down
	rm -rf .stack .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
