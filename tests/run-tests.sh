# Sourced by run.sh: all test projects, one after the other (they measure, and would disturb each other), with one line at the end that says how many passed.

# What the tests call: present on a developer's machine, fetched on a bare one. Who lacks them skips those tests.
install_tools() {
  local missing=()
  local tool
  # command:package
  for tool in curl:curl wrk:wrk ab:apache2-utils ip:iproute2 tc:iproute2 ping:iputils-ping traceroute:traceroute chromium:chromium; do
    command -v "${tool%%:*}" >/dev/null 2>&1 || missing+=("${tool#*:}")
  done
  if [ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    local -x DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null 2>&1 || true

    # One by one: a package that this system doesn't have must not keep the others away.
    for tool in "${missing[@]}"; do
      apt-get install -y -qq --no-install-recommends "$tool" >/dev/null 2>&1 || true
    done
  fi
}

# counter FILE NAME : an attribute of the results file's <Counters>.
counter() {
  local value
  value="$(grep -o '<Counters [^>]*' "$1" | head -n 1 | grep -o " $2=\"[0-9]*\"" | grep -o '[0-9]*')" || true
  echo "${value:-0}"
}

# run_tests [ARGUMENT...] : arguments go to dotnet test, such as --filter.
run_tests() {
  install_tools
  build zcd src/ZeroCopyDaemon.Cli/ZeroCopyDaemon.Cli.csproj src .editorconfig
  local results passed=0 failed=0 skipped=0 project
  results="$(mktemp -d)"
  # shellcheck disable=SC2064
  trap "rm -rf '$results'" EXIT
  # All at once, benchmarks and samples too: they have to build as well.
  echo "building the tests ..."
  if ! dotnet build "$root/ZeroCopyDaemon.sln" -c "$configuration" -v quiet -nologo -clp:NoSummary -nodeReuse:false >"$results/build.log" 2>&1; then
    grep -E '(error|warning) [A-Z]+[0-9]+' "$results/build.log" | sort -u || cat "$results/build.log"
    echo "0 passed, 1 failed, 0 skipped"
    return 1
  fi
  for project in "$root"/tests/*Tests/*.csproj; do
    [ -e "$project" ] || continue
    local name log trx good=0 started=$SECONDS
    name="$(basename "$project" .csproj)"
    log="$results/$name.log"
    trx="$results/$name.trx"
    echo "$name ..."
    ZCD_PROGRAM="$zcd" dotnet test "$project" -c "$configuration" --no-build -nologo --results-directory "$results" --logger "trx;LogFileName=$name.trx" --logger "console;verbosity=minimal" --blame-hang-timeout 10m --blame-hang-dump-type none "$@" >"$log" 2>&1 || good=$?
    if [ ! -e "$trx" ]; then
      cat "$log"
      echo "$name: ended without results"
      failed=$((failed + 1))
      continue
    fi
    # What was skipped is among the total, but not executed; the counter that is named for it stays 0.
    local total executed p f s
    total="$(counter "$trx" total)"
    executed="$(counter "$trx" executed)"
    p="$(counter "$trx" passed)"
    s=$((total - executed))
    f=$((executed - p))
    if [ "$f" -eq 0 ] && [ "$good" -ne 0 ] && [ "$total" -gt 0 ]; then
      # All passed, and yet the run did not end well: something crashed beside the tests.
      f=1
    fi
    if [ "$f" -gt 0 ]; then
      grep -vE '^(Test run for|VSTest version|Starting test execution|A total of|Passed!|Failed!)' "$log" | sed '/^[[:space:]]*$/d'
    fi
    print_output "$trx"
    echo "$name: $p passed, $f failed, $s skipped in $((SECONDS - started)) s"
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
  done
  local code=0
  if [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ]; then
    code=1
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  return "$code"
}

# Lines that tests print for people: measured figures, marked as such. They are part of what a run shows.
print_output() {
  grep -hoE '\[figure\] [^<]*' "$1" 2>/dev/null | sed -e 's/^\[figure\] /  /' -e 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' || true
}
