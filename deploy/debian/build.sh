#!/usr/bin/env bash
# build.sh PROGRAM OUTPUT-DIRECTORY [VERSION]: makes a Debian package of a built program. The same sources give the same bytes: times come
# from SOURCE_DATE_EPOCH, by default that of the last commit. Prints the package's path.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
program=$(readlink -f "$1")
output=$(readlink -f "$2")
version=${3:-$(sed -n "s/^  version: '\(.*\)',/\1/p" "$root/meson.build")}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
doc=$tree/usr/share/doc/telemetryd

install -D -m 0755 "$program" "$tree/usr/bin/telemetryd"
strip --strip-unneeded "$tree/usr/bin/telemetryd"
install -d "$tree/lib/systemd/system" "$tree/etc/telemetryd" "$tree/usr/share/man/man8" "$doc" "$tree/DEBIAN" "$work/debian"
# Installed by hand they lie elsewhere, as their first lines say.
for unit in telemetryd.service telemetryd.socket; do
    sed -e '/^# telemetryd under systemd/,/^#   systemctl daemon-reload/d' -e 's#/usr/local/bin/#/usr/bin/#' \
        "$root/deploy/systemd/$unit" >"$tree/lib/systemd/system/$unit"
done
install -m 0640 "$root/deploy/systemd/telemetryd.env" "$tree/etc/telemetryd/telemetryd.env"
gzip -9nc "$root/deploy/debian/telemetryd.8" >"$tree/usr/share/man/man8/telemetryd.8.gz"
gzip -9nc "$root/README.md" >"$doc/README.md.gz"
install -m 0644 "$root/deploy/debian/copyright" "$doc/copyright"
printf 'telemetryd (%s) unstable; urgency=medium\n\n  * See the history of the source.\n\n -- telemetryd maintainers <telemetryd@localhost>  %s\n' \
    "$version" "$(date -Ru -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"

# dpkg-shlibdeps wants a source package around it.
printf 'Source: telemetryd\n\nPackage: telemetryd\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "tree/usr/bin/telemetryd" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
cat >"$tree/DEBIAN/control" <<END
Package: telemetryd
Version: $version
Architecture: $architecture
Maintainer: telemetryd maintainers <telemetryd@localhost>
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f 1)
Depends: $depends, init-system-helpers (>= 1.54), ca-certificates
Section: net
Priority: optional
Description: device telemetry and device status over HTTPS
 Serves the readings and the state of devices to dashboards, from Azure Cosmos
 DB and Azure IoT Hub or from an embedded database, with a dashboard of its own
 and an API that is described by OpenAPI.
END
echo /etc/telemetryd/telemetryd.env >"$tree/DEBIAN/conffiles"
install -m 0755 "$root/deploy/debian/postinst" "$root/deploy/debian/prerm" "$root/deploy/debian/postrm" "$tree/DEBIAN/"
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
chmod -R u=rwX,go=rX "$tree"
chmod 0640 "$tree/etc/telemetryd/telemetryd.env"
package=$output/telemetryd_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
echo "$package"
