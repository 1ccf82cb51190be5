.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin

.PHONY: protos
protos: ## Regenerate the Python code and stubs from protos/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos --grpc_python_out=protos \
	  --mypy_out=quiet,readable_stubs:protos --mypy_grpc_out=quiet,readable_stubs:protos protos/taskplane/v1/*.proto
