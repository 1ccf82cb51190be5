#!/usr/bin/env bash
# Makes a Python environment at the root of the project, or brings it up to date.
#
#   environment.sh runtime         .venv: server, CLI and the ready-made units
#   environment.sh dev             .venv: the same, with the tools of tests and checks
#   environment.sh docs            .venv-docs: the same as runtime, with the builder of the documentation site
#   environment.sh dev VERSION     .venv-VERSION, of that Python, such as 3.13; exits with 3 if there is none
#
# Returns at once when nothing changed. Safe to run several times at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SET=$1
VERSION=${2:-}
VENV=$PWD/.venv${VERSION:+-$VERSION}
[ "$SET" != docs ] || VENV=$PWD/.venv-docs
NO_SUCH_PYTHON=3

say() { echo "environment.sh: $*" >&2; }

# Source of the environment. The path is a part, because programs in an environment hold its absolute path.
fingerprint() { echo "$VENV $( (cat "requirements/$1.txt" && package_sections) | cksum)"; }

# The settings of linters and tests, which stand in the same file, change nothing in an environment.
package_sections() { awk '/^\[/ { counts = !/^\[+tool\./ || /^\[tool\.hatch/ } counts' pyproject.toml; }

is_current() {
  local stamp=$VENV/.$SET-stamp
  [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$SET")" ] && [ -x "$VENV/bin/python" ]
}

# Every path at which an interpreter may be, the newest version first. Those of pyenv are not on the PATH unless they
# were chosen, so they count only for a version that is asked for.
places() {
  local version
  if [ -n "$VERSION" ]; then
    type -ap "python$VERSION" || true
    compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$VERSION.*/bin/python$VERSION" || true
  else
    for version in 3.13 3.12 3.11 3; do type -ap "python$version" || true; done
  fi
}

# Prints the interpreters that will do, those that were built with optimisations first.
candidates() {
  local python kind plain=()
  while read -r python; do
    # Run it, as a path may be the shim of a version that is not chosen.
    kind=$("$python" scripts/python_build.py 2>/dev/null) || continue
    if [ "$kind" = optimised ]; then echo "$python"; else plain+=("$python"); fi
  done < <(places)
  [ ${#plain[@]} = 0 ] || printf '%s\n' "${plain[@]}"
}

# Debian has a separate package for the part of `python3 -m venv` that installs pip.
ensure_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return 0
  local package
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "$1 has no venv module; on Debian: apt-get install $package"
    return 1
  fi
  say "installing $package"
  apt-get -qq update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "$package" >&2
}

# True for an environment that was made in this very place by a Python that is still there.
is_usable() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && grep -qF "$VENV/bin/python" "$VENV/bin/pip"; }

make_venv() {
  local python
  is_usable && return 0
  while read -r python; do
    if ensure_venv_module "$python" </dev/null; then
      rm -rf "$VENV"
      "$python" -m venv "$VENV" </dev/null
      return 0
    fi
  done < <(candidates)
  [ -z "$VERSION" ] || exit $NO_SUCH_PYTHON
  say "needs Python 3.11 or newer, with its venv module; on Debian: apt-get install python3-venv"
  return 1
}

install() {
  local pip=("$VENV/bin/python" -m pip --disable-pip-version-check --quiet)
  say "installing requirements/$SET.txt into ${VENV##*/}"
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
[ "$SET" = runtime ] || fingerprint "$SET" >"$VENV/.$SET-stamp"
