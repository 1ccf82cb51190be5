#!/usr/bin/env bash
# Makes the Python environment .venv at the root of the project, or brings it up to date.
#
#   environment.sh runtime   server, CLI and the ready-made units
#   environment.sh dev       the same and what tests and checks need
#
# Returns at once when nothing changed. Safe to run several times at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SET=$1
VENV=$PWD/.venv

say() { echo "environment.sh: $*" >&2; }

# What the environment was made from. The path is part of it: programs in an environment hold its absolute path.
fingerprint() { echo "$VENV $(cat "requirements/$1.txt" pyproject.toml | cksum)"; }

is_current() {
  local stamp=$VENV/.$SET-stamp
  [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$SET")" ] && [ -x "$VENV/bin/python" ]
}

find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    # Run it, as a name on the PATH may be the shim of a version that is not chosen.
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      PYTHON=$name
      return 0
    fi
  done
  say "needs Python 3.11 or newer; on Debian: apt-get install python3"
  return 1
}

# Debian keeps the half of `python3 -m venv` that brings pip in a package of its own.
ensure_venv_module() {
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return 0
  local package
  package=$("$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "$PYTHON has no venv module; on Debian: apt-get install $package"
    return 1
  fi
  say "installing $package"
  apt-get -qq update >&2
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "$package" >&2
}

# True for an environment that was made in this very place by a Python that is still there.
is_usable() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && grep -qF "$VENV/bin/python" "$VENV/bin/pip"; }

make_venv() {
  is_usable && return 0
  find_python
  ensure_venv_module
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV"
}

install() {
  local pip=("$VENV/bin/python" -m pip --disable-pip-version-check --quiet)
  say "installing requirements/$SET.txt into .venv"
  "${pip[@]}" install --requirement "requirements/$SET.txt"
  # The build backend is among the pins, so nothing else is downloaded.
  "${pip[@]}" install --no-deps --no-build-isolation --editable .
}

is_current && exit 0
exec 9<requirements
if command -v flock >/dev/null; then flock 9; fi
is_current && exit 0 # somebody else made it meanwhile
make_venv
install
fingerprint runtime >"$VENV/.runtime-stamp"
[ "$SET" != dev ] || fingerprint dev >"$VENV/.dev-stamp"
