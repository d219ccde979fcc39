#!/bin/sh
# Installs the Debian packages that building, testing and the demo need and that are missing. Silent when none is.
set -eu
packages="build-essential cmake ninja-build pkg-config git
 libjansson-dev libfyaml-dev libpcre2-dev libutf8proc-dev libxxhash-dev
 libavformat-dev libavcodec-dev libavutil-dev libswscale-dev
 libcmocka-dev ffmpeg clang libclang-rt-14-dev libomp-14-dev"
missing=""
for package in $packages; do
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0
echo "installing:$missing" >&2
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
