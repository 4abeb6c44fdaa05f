#!/bin/sh
# System packages that clipseek needs on Debian and Ubuntu. Says what it installs; does nothing where all are there.
#   deploy/install-packages.sh            to build and run
#   deploy/install-packages.sh ffmpeg …   these as well
set -eu

packages="pkg-config
libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
gstreamer1.0-libav
cmake g++ python3-venv $*"

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "This needs a system with apt-get. Please install what corresponds to:$missing" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "Not root, and no sudo. Please install:$missing" >&2; exit 1; }
fi
echo "Installing system packages:$missing"
log=$(mktemp)
if ! { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "The packages could not be installed:$missing" >&2
    exit 1
fi
rm -f "$log"
