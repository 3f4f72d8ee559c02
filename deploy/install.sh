#!/usr/bin/env bash
# usage: install.sh TREE REQUIREMENTS [WHEEL]
# Makes the tree of the image: an environment with the locked requirements, and our wheel. Dockerfile and tests/repo/wheel.sh
# run it, so that what is tested is what is shipped. PYTHON: the interpreter, which has pip.
set -euo pipefail
shopt -s globstar
tree=$1 requirements=$2 wheel=${3:-}
python=${PYTHON:-python3}

[[ -x $tree/bin/python ]] || "$python" -m venv --without-pip "$tree"
pip=("$python" -m pip --python "$tree/bin/python" --disable-pip-version-check)
# -qq: a machine's own pip settings may warn for pages; errors still come through. --no-compile: most of numpy and scipy
# is never imported; what the gateway imports is compiled by the import below, so that no start pays for that.
"${pip[@]}" install -qq --no-cache-dir --no-compile --require-hashes --requirement "$requirements"
# Their own tests are a tenth of it, and nothing imports them.
rm -rf "$tree"/lib/python3*/site-packages/{numpy,scipy}/**/tests
if [[ -n $wheel ]]; then
    "${pip[@]}" install -qq --no-cache-dir --no-compile --no-deps --no-index "$wheel"
    "${pip[@]}" check >/dev/null
    # From a folder where nothing of ours lies: -P alone leaves out only the script's.
    env -u PYTHONDONTWRITEBYTECODE "$tree/bin/python" -P -c "import router.app, router.cli, router.worker"
fi
