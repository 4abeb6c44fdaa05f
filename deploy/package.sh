#!/bin/sh
# Makes a Debian package of what `make build` has built: program, ONNX Runtime's library, shipped model, unit, completions,
# manual pages, licences and a list of all libraries in it (CycloneDX).
#   deploy/package.sh target/release target/package
set -eu

built=$1
into=$2
repository=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -1)
architecture=$(dpkg --print-architecture)
mkdir -p "$into"
into=$(cd "$into" && pwd)
package="$into/clipseek_${version}_$architecture.deb"

for tool in dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "$tool is needed: apt-get install dpkg-dev" >&2; exit 1; }
done
work=$(mktemp -d "$into/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
root="$work/root"
doc="$root/usr/share/doc/clipseek"

install -D -m 755 "$built/clipseek" "$root/usr/bin/clipseek"
strip "$root/usr/bin/clipseek"
# The processor's library only: those of a GPU are gigabytes, and come from `make build GPU=cuda`.
install -D -m 644 -t "$root/usr/lib/clipseek" "$built"/lib/libonnxruntime.so.*
strip --strip-unneeded "$root"/usr/lib/clipseek/*
mkdir -p "$root/usr/share/clipseek" "$doc"
cp -r "$repository/models/bundles" "$root/usr/share/clipseek/bundles"
cp -r "$repository/dashboards" "$doc/dashboards"
install -m 644 -t "$doc" "$repository/README.md" "$repository/CHANGELOG.md"
gzip -9n "$doc/CHANGELOG.md"
install -D -m 644 "$repository/pipelines/clipseek.example.toml" "$doc/clipseek.example.toml"
install -D -m 644 "$repository/deploy/systemd/clipseek.service" "$root/usr/lib/systemd/system/clipseek.service"
install -D -m 644 "$repository/deploy/systemd/clipseek.sysusers" "$root/usr/lib/sysusers.d/clipseek.conf"
mkdir -p "$root/etc/clipseek"
cat >"$root/etc/clipseek/clipseek.toml" <<'TOML'
# Settings of the service. Every key with its default is in /usr/share/doc/clipseek/clipseek.example.toml.
# The user clipseek must be able to read the folders. After a change: systemctl reload clipseek
#
# [[source]]
# name = "films"
# path = "/srv/films"
TOML
chmod 644 "$root/etc/clipseek/clipseek.toml"

"$built/clipseek" generate "$work/generated"
for page in "$work"/generated/man/*; do
    gzip -9n "$page"
    install -D -m 644 -t "$root/usr/share/man/man1" "$page.gz"
done
install -D -m 644 "$work/generated/completions/clipseek.bash" "$root/usr/share/bash-completion/completions/clipseek"
install -D -m 644 -t "$root/usr/share/zsh/vendor-completions" "$work/generated/completions/_clipseek"
install -D -m 644 -t "$root/usr/share/fish/vendor_completions.d" "$work/generated/completions/clipseek.fish"

(cd "$repository" && python3 deploy/licences.py "$work/onnxruntime" "$doc")

mkdir -p "$root/DEBIAN" "$work/debian"
echo "/etc/clipseek/clipseek.toml" >"$root/DEBIAN/conffiles"
# What the binaries are linked to, with versions. Of GStreamer's plug-ins it cannot know.
printf 'Source: clipseek\n\nPackage: clipseek\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O -l"$root/usr/lib/clipseek" root/usr/bin/clipseek root/usr/lib/clipseek/* \
    2>"$work/shlibdeps.log" | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || { cat "$work/shlibdeps.log" >&2; exit 1; }
cat >"$root/DEBIAN/control" <<CONTROL
Package: clipseek
Version: $version
Architecture: $architecture
Maintainer: clipseek <clipseek@localhost>
Section: video
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $libraries, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, gstreamer1.0-plugins-ugly, gstreamer1.0-libav
Suggests: ffmpeg, prometheus
Description: type what happens, get the moment
 Turns every few seconds of video files into vectors with a video-text model and answers captions with the file, the start
 and the end of the moment. Watches folders as a service, answers an HTTP API, and tells Prometheus how it does.
CONTROL
for script in postinst prerm postrm; do
    install -m 755 "$repository/deploy/debian/$script" "$root/DEBIAN/$script"
done
dpkg-deb --root-owner-group --build -Zxz "$root" "$package" >/dev/null
echo "$package: $(du -h "$package" | cut -f1)"
