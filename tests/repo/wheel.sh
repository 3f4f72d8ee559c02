#!/usr/bin/env bash
# Builds the wheel and tries it where nothing else is: an empty environment with the locked base requirements, without
# TensorFlow. It must start, pass a request through, stay light and end well (wheel_probe.py says what is measured).
set -euo pipefail
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$root/.venv/bin/python
work=$(mktemp -d)
backend_pid=

clean_up() {
    if [[ -n $backend_pid ]]; then
        kill "$backend_pid" 2>/dev/null || true
        wait "$backend_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf 'wheel: %s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

say "building"
"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" >&2; fail "the build"; }
wheel=$(echo "$work"/dist/turpin-*.whl)

say "installing $(basename "$wheel") and requirements/base.txt into an empty environment, as the image does"
empty=$work/venv/bin
PYTHON=$python "$root/deploy/install.sh" "$work/venv" "$root/requirements/base.txt" "$wheel" || fail "deploy/install.sh"

# The last stage of Dockerfile copies this tree; its base image comes to it.
tree_mb=$(du --summarize --apparent-size --bytes "$work/venv" | awk '{print int($1 / 1000000 + 0.5)}')
say "the tree of the image has $tree_mb MB"
((tree_mb < 250)) || fail "the tree of the image has $tree_mb MB; it must stay below 250"

# From here on nothing of the source tree is in reach, but for the stand-in model server.
mkdir "$work/empty"
cd "$work/empty"

for module in tensorflow tensorflow_serving sklearn; do
    if "$empty/python" -P -c "import $module" 2>/dev/null; then
        fail "$module is installed: the base requirements should not bring it"
    fi
done
"$empty/python" -P -c "import router.app, router.cli, router.worker"
say "no TensorFlow here; $("$empty/turpin" --version)"

code=0
"$empty/turpin" model-server --model_base_path="$work/empty" >"$work/model-server.log" 2>&1 || code=$?
if [[ $code -ne 1 ]] || ! grep -qF 'turpin[local]' "$work/model-server.log"; then
    cat "$work/model-server.log" >&2
    fail "model-server without TensorFlow: exit code $code, expected 1 and a word about turpin[local]"
fi

(cd "$root" && exec "$python" -m tests.repo.wheel_backend) >"$work/backend.txt" 2>"$work/backend.log" &
backend_pid=$!
for ((tries = 0; tries < 100; tries++)); do
    [[ -s $work/backend.txt ]] && break
    kill -0 "$backend_pid" 2>/dev/null || { cat "$work/backend.log" >&2; fail "the stand-in model server ended"; }
    sleep 0.1
done
[[ -s $work/backend.txt ]] || fail "the stand-in model server did not start within 10 s"

"$empty/python" -P "$root/tests/repo/wheel_probe.py" "$(<"$work/backend.txt")" || fail "see above"
say "passed"
