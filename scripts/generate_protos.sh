#!/usr/bin/env bash
# Generates the Python code and typed stubs of protos/ into a folder: generate_protos.sh FOLDER
set -euo pipefail
OUT=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# protoc finds the plugins of mypy-protobuf on the PATH.
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m grpc_tools.protoc -I protos \
  --python_out="$OUT" --grpc_python_out="$OUT" \
  --mypy_out="quiet,readable_stubs:$OUT" --mypy_grpc_out="quiet,readable_stubs:$OUT" \
  protos/taskplane/v1/*.proto
