#!/bin/sh
# Tries a Debian package in a plain Debian 12 made by mmdebstrap: installs it, indexes and searches footage as the user of the service,
# starts the daemon and asks it, installs the package over itself, removes and purges it. Says how long each takes. As root.
#   deploy/try-package.sh target/package/clipseek_*.deb FOOTAGE
set -eu

package=$1
footage=$2
work=$(mktemp -d /var/tmp/clipseek-package.XXXXXX)
root=$work/root
trap 'umount "$root/proc" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

command -v mmdebstrap >/dev/null || { echo "mmdebstrap is needed: apt-get install mmdebstrap" >&2; exit 1; }
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# The service's own user, with its data folder.
clipseek() { inside setpriv --reuid clipseek --regid clipseek --clear-groups clipseek --data /var/lib/clipseek "$@"; }
installed() { inside apt-get install -q -y "/$(basename "$package")" >"$work/apt.log" 2>&1 || { tail -20 "$work/apt.log" >&2; exit 1; }; }
begin() { began=$(date +%s.%N); }
took() { echo "$1: $(echo "$(date +%s.%N) - $began" | bc) s"; }
size() { du -sm "$root" --exclude="$root/proc" | cut -f1; }

begin
mmdebstrap --quiet --variant=apt bookworm "$root"
took "a plain root ($(size) MB)"
mount -t proc proc "$root/proc"
cp "$package" "$root/"
cp -r "$footage" "$root/footage"
chmod -R a+rX "$root/footage"

inside apt-get update -q >/dev/null
begin
installed
took "apt-get install (root of $(size) MB)"
install -d -o "$(stat -c %u "$root/etc/passwd")" "$root/var/lib/clipseek"
inside chown clipseek: /var/lib/clipseek
clipseek -q index /footage || [ $? -eq 2 ]
clipseek search "a red circle moves to the right" --limit 1
took "from the package to the first search result"

clipseek verify
begin
clipseek -q serve --listen 127.0.0.1:7797 /footage 2>"$work/serve.log" &
until clipseek sources >/dev/null 2>&1 && bash -c 'exec 3<>/dev/tcp/127.0.0.1/7797; printf "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; grep -q "200 OK" <&3'; do
    sleep 0.05
done
took "from its start to ready"
clipseek search "an orange heart shrinks" --limit 1 --json
kill -TERM "$(pgrep -f 'serve --listen 127.0.0.1:7797 /footage' | head -1)"
wait

installed
clipseek search "a red circle moves to the right" --limit 1 >/dev/null
echo "installed over itself: searched again"
inside apt-get remove -q -y clipseek >"$work/apt.log" 2>&1
[ ! -e "$root/usr/bin/clipseek" ] && [ -e "$root/etc/clipseek/clipseek.toml" ] && [ -e "$root/var/lib/clipseek" ]
echo "removed: settings and index stay"
inside apt-get purge -q -y clipseek >"$work/apt.log" 2>&1
left=$(find "$root" -xdev -path "$root/footage" -prune -o -iname '*clipseek*' ! -name "$(basename "$package")" -print | grep -v "^$root/var/lib/apt\|^$root/var/log\|^$root/var/cache/apt" || :)
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
echo "purged: nothing is left"
