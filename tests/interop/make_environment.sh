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
"${PYTHON:-python3}" -m venv "$folder"
# torch first and by its exact version: an open range would bring gigabytes of CUDA with it.
"$python" -m pip install --quiet torch==2.13.0 >&2
"$python" -m pip install --quiet \
    optimum-onnx==0.1.0 'transformers<4.58' 'diffusers==0.35.2' torch==2.13.0 \
    onnx==1.19.1 onnxruntime==1.23.2 sentencepiece protobuf >&2
"$python" -c "$check"
echo "$python"
