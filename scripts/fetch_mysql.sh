#!/usr/bin/env bash
# Fetches a genuine MySQL server into a cache folder, unless it is there, and prints the folder.
#
# Debian's releases ship MariaDB; genuine MySQL is packaged in its unstable suite. This script downloads that
# package and everything it needs, its own libc too, through apt with private lists, and unpacks it. Nothing is
# installed on the machine. Works on Debian 12 and 13, as root or as anybody who may run apt-get.
#
#   TASKPLANE_MYSQL_CACHE   the cache folder (default: ~/.cache/taskplane-mysql)
set -euo pipefail

CACHE=${TASKPLANE_MYSQL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taskplane-mysql}
ROOT=$CACHE/root APT=$CACHE/apt

say() { echo "fetch_mysql.sh: $*" >&2; }

set_apt_options() {
  APT_OPTIONS=(-oDir::State="$APT/state" -oDir::State::Lists="$APT/lists" -oDir::State::status=/dev/null
    -oDir::Cache="$APT/cache" -oDir::Etc::SourceList=/dev/null -oDir::Etc::SourceParts="$APT/sources"
    -oAPT::Sandbox::User="$(id -un)" -oAPT::Install-Recommends=false -oAPT::Get::List-Cleanup=false
    -oDebug::NoLocking=true -oAcquire::Languages=none)
}

# Writes the machine's own main Debian source with its suite swapped for sid: the same mirror, whichever it is.
derive_source() {
  local source
  for source in /etc/apt/sources.list.d/*.sources; do
    [ -e "$source" ] || continue
    # The first stanza that names this release itself: not -security alone, not a folder of files.
    awk -v RS= '/Suites:[^\n]*(bookworm|trixie|stable|testing)([ \n]|$)/ && !/URIs:[^\n]*file:/ {print; exit}' "$source" |
      sed -E 's/^Suites:.*/Suites: sid/; s/^Components:.*/Components: main/; /^Enabled:/d' >"$APT/sources/sid.sources"
    [ -s "$APT/sources/sid.sources" ] && return 0
  done
  rm -f "$APT/sources/sid.sources"
  if [ -s /etc/apt/sources.list ]; then # the one-line style
    awk '$1=="deb"' /etc/apt/sources.list | grep -vE 'security|-updates|-backports' | head -1 |
      sed -E 's/[[:space:]](bookworm|trixie|stable|testing)[[:space:]].*/ sid main/' >"$APT/sources/sid.list"
    [ -s "$APT/sources/sid.list" ] && return 0
  fi
  say "no Debian source found under /etc/apt"
  return 1
}

download() {
  mkdir -p "$APT"/{state,lists/partial,cache/archives/partial,sources}
  derive_source
  set_apt_options
  # Where the keyring of an older Debian does not know sid's newest key, apt refuses, and so do we.
  apt-get "${APT_OPTIONS[@]}" -qq update >&2
  # With an empty status file, apt lists every package down to libc6.
  apt-get "${APT_OPTIONS[@]}" -qq -y --download-only install mysql-server-core >&2
}

unpack() {
  local folder deb new=$ROOT.new
  rm -rf "$new"
  mkdir -p "$new"/usr/{bin,sbin,lib,lib64} "$new"/{tmp,etc}
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$new/$folder"; done
  for deb in "$APT"/cache/archives/*.deb; do
    # perl is only for mysqld_multi and the like.
    case ${deb##*/} in perl* | libperl* | *-doc_*) continue ;; esac
    # Through a tar pipe, so that the links above stay links.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$new" --keep-directory-symlink --no-same-owner
  done
  # The last step makes the folder visible: ROOT is always complete.
  rm -rf "$ROOT" "$APT"
  mv "$new" "$ROOT"
}

mkdir -p "$CACHE"
# One fetch at a time for all checkouts of this user; waiting processes find the result.
exec 9>"$CACHE/lock"
flock 9
if [ ! -d "$ROOT" ]; then
  command -v apt-get >/dev/null || { say "this is no Debian: there is no apt-get"; exit 1; }
  say "fetching MySQL into $CACHE (once)"
  download
  unpack
fi
echo "$ROOT"
