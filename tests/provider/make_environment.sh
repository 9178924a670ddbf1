#!/bin/sh
# An environment with ONNX Runtime's CUDA provider, and a CUDA without a GPU (no_gpu.c) for it to start on.
#
#   tests/provider/make_environment.sh [FOLDER]      (default: ~/.cache/overpaint/provider)
#   OVERPAINT_PROVIDER=FOLDER python -m pytest -m provider
#
# An environment that is there and works is left as it is.
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/overpaint/provider}
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -x "$folder/bin/python" ] || ! "$folder/bin/python" -c 'import onnxruntime, PIL, tokenizers' 2>/dev/null; then
    "${PYTHON:-python3}" -m venv "$folder"
    # The provider; libcudart, and its headers; what overpaint's runtime needs.
    "$folder/bin/python" -m pip install --quiet onnxruntime-gpu==1.31.1 \
        'nvidia-cuda-runtime~=13.0' 'nvidia-cuda-crt~=13.0' msgspec Pillow tokenizers >&2
fi
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
stubs=$folder/stubs
mkdir -p "$stubs"
ln -sf "$packages/nvidia/cu13/lib/libcudart.so.13" "$stubs/"
cc -w -O1 -shared -fPIC -I"$packages/nvidia/cu13/include" -o "$stubs/libno_gpu.so" "$here/no_gpu.c"
for name in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libcudnn.so.9; do
    echo 'int a_library_without_symbols_has_no_version;' | cc -x c - -shared -fPIC -o "$stubs/$name" \
        -Wl,-soname,"$name" -Wl,--default-symver -Wl,--no-as-needed -L"$stubs" -lno_gpu
done
echo "$folder"
