#!/usr/bin/env bash
# The whole suite in two halves side by side, with coverage over both. Real gateways and browsers wait more than they work,
# most of the others only work: one after the other they take a third longer. The second half gives way to the first.
# Arguments go to both.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-.venv/bin}
halves=(tests/system tests/chaos tests/console)
others=()
for path in tests/*/ tests/test_*.py; do
  path=${path%/}
  [[ " ${halves[*]} " == *" $path "* || $path == *__pycache__ ]] || others+=("$path")
done

work=$(mktemp -d)
trap 'kill "${other:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
# A session of its own, so that an interrupt ends it through the trap, once.
nice -n 10 "$bin/coverage" run --data-file=.coverage.other -m pytest "$@" "${others[@]}" >"$work/other" 2>&1 &
other=$!
failed=0
"$bin/coverage" run --data-file=.coverage.real -m pytest "$@" "${halves[@]}" || failed=$?
wait "$other" || failed=$?
other=
cat "$work/other"
"$bin/coverage" combine --quiet .coverage.real .coverage.other
exit "$failed"
