#!/bin/sh
# An environment for the real optimum, beside ours: optimum-onnx 0.1.0 pins an older transformers.
#
#   tests/interop/make_environment.sh [FOLDER]      (default: ~/.cache/overpaint/optimum)
#   OVERPAINT_OPTIMUM_PYTHON=FOLDER/bin/python python -m pytest -m interop
#
# An environment that is there and works is left as it is.
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/overpaint/optimum}
python=$folder/bin/python
check='from optimum.onnxruntime import ORTStableDiffusionImg2ImgPipeline'
if [ -x "$python" ] && "$python" -c "$check" 2>/dev/null; then
    echo "$python"
    exit
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$(PYTHONPATH=$root/bench "${PYTHON:-python3}" -c \
    'from overpaint.bench.environments import OPTIMUM; print(*OPTIMUM)')
"${PYTHON:-python3}" -m venv "$folder"
# shellcheck disable=SC2086  # a word a requirement; sentencepiece and protobuf are T5's
"$python" -m pip install --quiet $pins sentencepiece protobuf >&2
"$python" -c "$check"
echo "$python"
