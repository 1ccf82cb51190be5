#!/usr/bin/env bash
# Fails if the generated code in protos/ does not match the protos: forgotten, edited by hand, or left over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate_protos.sh "$fresh"
if ! diff --recursive --brief --exclude='*.proto' --exclude=__pycache__ --exclude=py.typed "$fresh/taskplane/v1" protos/taskplane/v1; then
  echo "check_protos.sh: run \`make protos\` and commit what it writes" >&2
  exit 1
fi
