#!/bin/sh
# Puts ONNX Runtime's shared library, out of its PyPI wheel, into the folder named; with `cuda` or `tensorrt` the one for
# NVIDIA's GPUs and all that it needs beside the driver (1.5 GB to fetch, 2 GB on disk; TensorRT comes on top).
#   deploy/install-onnxruntime.sh target/release/lib
#   deploy/install-onnxruntime.sh target/release/lib cuda
#   deploy/install-onnxruntime.sh target/release/lib tensorrt
# What is there stays: a folder with the GPU's library serves the processor, too. Delete the folder to go back.
set -eu

version=1.31.1
# CUDA 13.0 and cuDNN 9, which this version is built for; a newer CUDA 13 would ask for newer drivers.
cuda="nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88
nvidia-nvjitlink==13.0.88 nvidia-cufft==12.0.0.61 nvidia-cudnn-cu13==9.20.0.48"
# The provider is linked to TensorRT 10.
tensorrt="tensorrt-cu13-libs==10.16.1.11"

into=$1
gpu=${2:-}
library="$into/libonnxruntime.so.$version"
case $gpu in
"") wheels="onnxruntime==$version" ;;
cuda) wheels="onnxruntime-gpu==$version $cuda" ;;
tensorrt) wheels="onnxruntime-gpu==$version $cuda $tensorrt" ;;
*)
    echo "GPU is cuda or tensorrt, not $gpu" >&2
    exit 1
    ;;
esac

# One line for every wheel whose libraries are in the folder.
installed="$into/installed.txt"
has() { grep -qxF "$1" "$installed" 2>/dev/null; }
missing=""
for wheel in $wheels; do has "$wheel" || missing="$missing $wheel"; done
[ -n "$missing" ] || exit 0
# The library for the processor, from here or elsewhere, is enough where no GPU is asked for.
[ -z "$gpu" ] && [ -e "$library" ] && exit 0

command -v python3 >/dev/null || { echo "python3 with pip is needed to fetch ONNX Runtime" >&2; exit 1; }
mkdir -p "$into"
# Beside the libraries, so that moving them there is no copy; a temporary folder of the system may be in memory.
work=$(mktemp -d "$into/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for wheel in $missing; do
    echo "Fetching $wheel"
    case $wheel in
    tensorrt*)
        # This package fetches its libraries from NVIDIA while it is built.
        if ! python3 -m pip wheel -q --disable-pip-version-check --no-deps -w "$work" "$wheel" >"$work/log" 2>&1; then
            cat "$work/log" >&2
            cat >&2 <<TEXT

$wheel could not be fetched: it comes from NVIDIA's own index, which this machine may not reach. All else is in place.
Put libnvinfer*.so.10* and libnvonnxparser.so.10* of NVIDIA's TensorRT 10 for CUDA 13 into $into,
or install its packages for your distribution.
TEXT
            exit 1
        fi
        ;;
    *)
        # The libraries are the same for every Python: take a wheel without asking which one runs here.
        python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
            -d "$work" "$wheel"
        ;;
    esac
    python3 - "$work" "$into" <<'PY'
import pathlib, shutil, sys, zipfile

work, into = map(pathlib.Path, sys.argv[1:])
# Debugging variants and drop-in replacements for other programs.
UNUSED = ("libnvblas", "libcufftw", "libnvrtc.alt", "libnvrtc-builtins.alt", "onnxruntime_pybind11")
path = next(work.glob("*.whl"))
with zipfile.ZipFile(path) as wheel:
    for member in wheel.infolist():
        name = pathlib.PurePosixPath(member.filename).name
        if ".so" not in name or name.startswith(UNUSED):
            continue
        part = work / name
        with wheel.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        part.rename(into / name)
path.unlink()
PY
    echo "$wheel" >>"$installed"
done
