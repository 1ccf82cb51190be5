#!/usr/bin/env bash
# Runs every static check, also after one has failed, and fails if any did. Changes nothing.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
PATH=$PWD/.venv/bin:$PATH

failed=()
check() { # NAME COMMAND…
  echo "== $1"
  "${@:2}" || failed+=("$1")
}

check format ruff format --check .
check lint ruff check .
check types mypy
check layers lint-imports --no-logo
check prose python scripts/prose_check.py
check shell shellcheck .ci/run scripts/*.sh
check "proto style" buf lint protos
check "proto format" buf format -d --exit-code protos
check "generated protos" scripts/check_protos.sh
check "synchronous client" python scripts/generate_sync_client.py --check

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFAILED: %s\n' "${failed[@]}" >&2
  exit 1
fi
printf '\nAll checks passed.\n'
