#!/usr/bin/env bash
# Pins requirements/*.txt from pyproject.toml. Versions that are pinned already stay unless `--upgrade` or
# `--upgrade-package NAME` is given. The pins name no index, so that they serve behind any mirror.
set -euo pipefail
cd "$(dirname "$0")/.."

export CUSTOM_COMPILE_COMMAND="make lock"

compile() {
  .venv/bin/python -m piptools compile --quiet --strip-extras --allow-unsafe \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@" pyproject.toml
}

# The project itself is installed editable and without isolation, hence its build backend among the pins.
compile --extra server --extra units --build-deps-for editable --output-file requirements/runtime.txt "$@"
compile --extra server --extra units --extra dev --build-deps-for editable \
  --constraint requirements/runtime.txt --output-file requirements/dev.txt "$@"
compile --extra server --extra units --extra docs --build-deps-for editable \
  --constraint requirements/dev.txt --output-file requirements/docs.txt "$@"
