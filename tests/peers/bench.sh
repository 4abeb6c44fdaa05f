#!/bin/sh
# The figures of the README, measured side by side on this machine, as one table.
#   tests/peers/bench.sh                 all (about 8 minutes on two cores, plus the footage the first time)
#   tests/peers/bench.sh decode memory   some of: decode whole peers memory clips
set -eu
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
work=$target/peers
python=$work/venv/bin/python

deploy/install-packages.sh ffmpeg gstreamer1.0-tools
if [ ! -e "$work/venv/complete" ]; then
    echo "Installing Python packages for the comparison"
    python3 -m venv "$work/venv"
    "$python" -m pip install -q --disable-pip-version-check \
        av onnxruntime==1.31.1 qdrant-client numpy pillow tokenizers
    touch "$work/venv/complete"
fi
PYTHONPATH=models exec "$python" tests/peers/bench.py \
    --clipseek "${CLIPSEEK:-$target/release/clipseek}" --work "$work" --shared "${CLIPSEEK_SHARED:-../shared}" "$@"
