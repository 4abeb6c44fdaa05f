#!/bin/sh
# Frames per second of image encoders on an NVIDIA GPU, with CUDA and with TensorRT, beside what the chip's matrix units do.
# Needs `make build GPU=tensorrt`, and PyTorch (several gigabytes, installed the first time).
#   tests/peers/gpu.sh                                              all: B/32, B/16 and L/14 in float16, batches of 8 and 64
#   tests/peers/gpu.sh --sizes b32 --batch 32                       some
#   tests/peers/gpu.sh --device cpu --sizes tiny --seconds 1        that it works, without a GPU
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
work=$target/peers/gpu
python=${PYTHON:-$target/python-torch/bin/python}
if [ ! -x "$python" ]; then
    echo "Installing PyTorch and the models package"
    python3 -m venv "$target/python-torch"
    "$python" -m pip install -q --disable-pip-version-check './models[train]'
fi
PYTHONPATH=models exec "$python" tests/peers/gpu.py --clipseek "${CLIPSEEK:-$target/release/clipseek}" --work "$work" "$@"
