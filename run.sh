#!/usr/bin/env bash
# Builds what is stale, quietly and once, and runs the command zcd. `./run.sh --help` lists what it knows; `test` runs all tests.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
sdk_major=10
configuration=Release
zcd="$root/src/ZeroCopyDaemon.Cli/bin/$configuration/net10.0/zcd"
stamps="$root/src/ZeroCopyDaemon.Cli/obj/stamps"

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1

fail() {
  echo "run.sh: $1" >&2
  exit "${2:-1}"
}

need_sdk() {
  if ! command -v dotnet >/dev/null 2>&1; then
    fail ".NET SDK $sdk_major is not installed; get it from https://dotnet.microsoft.com/download/dotnet/$sdk_major.0"
  fi
  # The newest one decides: it is what builds.
  local newest
  newest="$(dotnet --list-sdks 2>/dev/null | cut -d. -f1 | sort -n | tail -n 1)"
  if [ "${newest:-0}" -lt "$sdk_major" ]; then
    fail ".NET SDK $sdk_major is needed, and the newest one here is '$(dotnet --list-sdks 2>/dev/null | tail -n 1 | cut -d' ' -f1)'; get it from https://dotnet.microsoft.com/download/dotnet/$sdk_major.0"
  fi
}

# sources FOLDER... [-- FIND-TEST...] : everything that goes into a build, by name.
sources() {
  local folders=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    folders+=("$1")
    shift
  done
  [ $# -eq 0 ] || shift
  cd "$root" && find "${folders[@]}" -type d \( -name bin -o -name obj -o -name TestResults \) -prune -o -type f \
    \( -name '*.cs' -o -name '*.csproj' -o -name '*.props' -o -name '*.proto' -o -name '*.json' -o -name .editorconfig \) "$@" -print
}

list_of() {
  sources "$@" | LC_ALL=C sort | cksum
}

# stale STAMP FOLDER... : true if a source is newer than the stamp, or has come or gone since.
stale() {
  local stamp="$1"
  shift
  [ -e "$stamp" ] && [ -z "$(sources "$@" -- -newer "$stamp" | head -n 1)" ] && [ "$(cat "$stamp")" = "$(list_of "$@")" ] && return 1
  return 0
}

# build NAME PROJECT FOLDER... : builds the project if what lies in the folders has changed since. One at a time: a second call waits, and then finds nothing to do.
build() {
  local name="$1" project="$2"
  shift 2
  local stamp="$stamps/$name"
  stale "$stamp" "$@" || return 0
  need_sdk
  mkdir -p "$stamps"
  (
    if command -v flock >/dev/null 2>&1; then
      flock 9
      stale "$stamp" "$@" || exit 0
    fi
    local started="$stamp.started" log="$stamp.log"
    list_of "$@" >"$started"
    [ -t 2 ] && printf 'building %s ...' "$name" >&2
    local good=0
    # No build server stays behind: it would hold the lock, and outlive us.
    dotnet build "$root/$project" -c "$configuration" -v quiet -nologo -clp:NoSummary -nodeReuse:false -p:UseSharedCompilation=false >"$log" 2>&1 9>&- || good=$?
    [ -t 2 ] && printf '\r\033[K' >&2
    if [ "$good" -ne 0 ]; then
      grep -E '(error|warning) [A-Z]+[0-9]+' "$log" | sort -u >&2 || cat "$log" >&2
      fail "the build of $project failed"
    fi
    # As old as the build's beginning: what was edited meanwhile is still newer.
    mv -f "$started" "$stamp"
  ) 9>>"$stamps/lock"
}

run_zcd() {
  build zcd src/ZeroCopyDaemon.Cli/ZeroCopyDaemon.Cli.csproj src .editorconfig
  ZCD_COMMAND="${ZCD_COMMAND:-./run.sh}" exec "$zcd" "$@"
}

case "${1:-}" in
  test)
    shift
    need_sdk
    . "$root/tests/run-tests.sh"
    run_tests "$@"
    ;;
  build)
    build zcd src/ZeroCopyDaemon.Cli/ZeroCopyDaemon.Cli.csproj src .editorconfig
    ;;
  *)
    run_zcd "$@"
    ;;
esac
