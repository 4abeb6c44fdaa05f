#!/bin/sh
# Puts ONNX Runtime's shared library, out of its PyPI wheel, into the folder named.
#   deploy/install-onnxruntime.sh target/release/lib
set -eu

version=1.31.1
into=$1
library="$into/libonnxruntime.so.$version"
[ -e "$library" ] && exit 0

command -v python3 >/dev/null || { echo "python3 with pip is needed to fetch ONNX Runtime" >&2; exit 1; }
echo "Fetching ONNX Runtime $version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The library is the same for every Python: take a wheel without asking which one runs here.
python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
    -d "$work" "onnxruntime==$version"
mkdir -p "$into"
python3 - "$work" "$into" "libonnxruntime.so.$version" <<'PY'
import pathlib, sys, zipfile

work, into, name = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
part = into / (name + ".part")
part.write_bytes(wheel.read("onnxruntime/capi/" + name))
part.rename(into / name)
PY
