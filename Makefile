# All tasks of the project. Targets create the Python environment automatically.
.DEFAULT_GOAL := help
BIN := .venv/bin

# Variables of targets: make test ARGS="-k pause", make demo CSV=users.csv.
ARGS ?=
CSV ?=
ROWS ?=
PARTS ?=
FULL ?=
MINUTES ?= 1
SEED ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: dev ## Make the environment for development in .venv
	@echo "Ready: .venv/bin/taskplane --help"

.PHONY: demo
demo: runtime ## Process a CSV file: create, pause, resume, SUCCESS [CSV=path] [ROWS=number]
	@$(BIN)/python demo/run.py $(if $(CSV),--csv "$(CSV)") $(if $(ROWS),--rows "$(ROWS)")

.PHONY: serve
serve: runtime ## Run a server on 127.0.0.1:50051 over ./taskplane.db [ARGS=options]
	$(BIN)/taskplane serve $(ARGS)

.PHONY: test
test: dev ## Run all tests, on temporary databases [ARGS=pytest options]
	scripts/with_databases.sh $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-on-image-python
test-on-image-python: ## Run tests without database servers on the Python of the image, if installed [ARGS=pytest options]
	@scripts/test_on_image_python.sh $(ARGS)

.PHONY: robustness
robustness: dev ## Inject random faults, and check that nothing is lost [MINUTES=n] [SEED=s] [ARGS=options]
	PYTHONPATH=tests $(BIN)/python -m robustness.run --minutes $(MINUTES) $(if $(SEED),--seed "$(SEED)") $(ARGS)

.PHONY: mutants
mutants: dev ## Check that the robustness suite finds known bugs [ARGS="name …"]
	scripts/with_databases.sh env PYTHONPATH=tests $(BIN)/python -m robustness.mutate $(ARGS)

.PHONY: bench
bench: dev ## Measure throughput, latency and growth [PARTS="lifecycles …"] [FULL=1] [ARGS=options]
	GRPC_VERBOSITY=ERROR $(BIN)/python -m bench $(PARTS) $(if $(FULL),--full) $(ARGS)

.PHONY: check
check: dev ## Check format, lint, types, layers, prose, scripts and protos
	@scripts/check.sh

.PHONY: docs
docs: ## Build the documentation site in site/, and check its links
	@scripts/environment.sh docs
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=scripts .venv-docs/bin/mkdocs build --strict --quiet
	@echo "Ready: site/index.html"

.PHONY: package-check
package-check: dev ## Install the package like the Dockerfile, and try the package
	@scripts/check_package.sh

.PHONY: format
format: dev ## Format code and protos, and correct lint errors where possible
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/buf format -w protos

.PHONY: protos
protos: dev ## Regenerate the Python code and stubs from protos/
	scripts/generate_protos.sh protos

.PHONY: sync-client
sync-client: dev ## Generate the synchronous Python client from the asyncio client
	$(BIN)/python scripts/generate_sync_client.py

.PHONY: lock
lock: dev ## Pin requirements/ from pyproject.toml [ARGS=--upgrade]
	scripts/lock.sh $(ARGS)

.PHONY: mysql-start mysql-stop
mysql-start: ## Start a MySQL server for development on port 33069, and print its URL
	@scripts/mysql.sh start
mysql-stop: ## Stop the MySQL server for development
	@scripts/mysql.sh stop

# The scripts return at once if nothing has changed.
.PHONY: runtime dev
runtime:
	@scripts/environment.sh runtime
dev:
	@scripts/environment.sh dev
