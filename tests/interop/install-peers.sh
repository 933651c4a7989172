#!/bin/sh
# Installs the peers of the interoperability tests, DCMTK and Orthanc, from the distribution. Says nothing where they
# are already there. Never fails: where it cannot install, it says so in one line and those tests are skipped.
set -u

skipped() {
    echo "interop tests will be skipped: $1" >&2
    exit 0
}

# Orthanc lives in /usr/sbin, which is not on every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=
command -v storescp >/dev/null 2>&1 || missing="dcmtk"
command -v Orthanc >/dev/null 2>&1 || missing="${missing:+$missing }orthanc"
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || skipped "no $missing here, and no apt-get to install it with"
[ "$(id -u)" -eq 0 ] || skipped "no $missing here; as root: apt-get install $missing"

log=$(mktemp) || skipped "no temporary file for the log of apt-get"
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
echo "installing $missing"
apt-get -qq update >"$log" 2>&1 || skipped "apt-get update: $(tail -n 1 "$log")"
# shellcheck disable=SC2086 # the list is words
apt-get -qq install -y --no-install-recommends $missing >"$log" 2>&1 ||
    skipped "apt-get install $missing: $(tail -n 1 "$log")"

# The tests start an Orthanc of their own; the service that came with the package is not to run beside it.
case $missing in
*orthanc*)
    if [ -d /run/systemd/system ]; then
        systemctl --quiet disable --now orthanc >/dev/null 2>&1
    elif [ -x /etc/init.d/orthanc ]; then
        /etc/init.d/orthanc stop >/dev/null 2>&1
        update-rc.d orthanc disable >/dev/null 2>&1
    fi
    ;;
esac
exit 0
