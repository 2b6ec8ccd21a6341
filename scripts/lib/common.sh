# What the scripts share: words, packages, builds. Sourced, not run; leaves the shell in the
# top folder of the source.
# shellcheck shell=bash
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"

say() { printf '%s\n' "$@"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# with_root COMMAND...: as root, by sudo if need be (never asks for a password).
with_root() {
    if [[ $(id -u) = 0 ]]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# need_packages LIST...: installs the Debian packages that the lists name and that are missing. A
# list has one package a line; `#` begins a comment; a list that does not exist is empty.
need_packages() {
    local lists=() names list missing
    for list; do
        [[ ! -e $list ]] || lists+=("$list")
    done
    mapfile -t names < <(sed 's/#.*//' "${lists[@]}" | tr -s ' \t' '\n' | grep . | sort -u)
    missing=$(missing_packages "${names[@]}")
    [[ -n $missing ]] || return 0
    command -v apt-get >/dev/null ||
        die "needs these Debian packages, and there is no apt-get here: ${missing//$'\n'/ }"
    [[ $(id -u) = 0 ]] || sudo -n true 2>/dev/null ||
        die "needs root, or sudo without a password, to install: ${missing//$'\n'/ }"
    say "installing $(wc -l <<<"$missing") Debian packages: ${missing//$'\n'/ }"
    # shellcheck disable=SC2086 # one word per package is meant
    install_packages $missing
}

missing_packages() {
    local name
    for name; do
        dpkg-query -W -f '${db:Status-Abbrev}\n' "$name" 2>/dev/null | grep -q '^.i ' ||
            printf '%s\n' "$name"
    done
}

# The services of the packages are not started: tests and demo run servers of their own.
install_packages() {
    local log policy=/usr/sbin/policy-rc.d made=no status=0 kept
    log=$(mktemp)
    if [[ ! -e $policy ]]; then
        made=yes
        kept=$(trap -p EXIT)
        # shellcheck disable=SC2064 # the path is known now
        trap "with_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | with_root tee "$policy" >/dev/null
        with_root chmod 755 "$policy"
    fi
    apt_get install -y --no-install-recommends "$@" >"$log" 2>&1 ||
        { apt_get update >"$log" 2>&1 &&
            apt_get install -y --no-install-recommends "$@" >>"$log" 2>&1; } || status=$?
    if [[ $made = yes ]]; then
        with_root rm -f "$policy"
        trap - EXIT
        eval "$kept"
    fi
    [[ $status = 0 ]] || { tail -n 20 "$log" >&2; die "apt-get failed, see $log"; }
    rm -f "$log"
}

apt_get() {
    with_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# configure DIRECTORY [MESON OPTION...]: sets a build directory up, or leaves one as it is.
configure() {
    local dir=$1 log
    shift
    [[ ! -e $dir/build.ninja ]] || return 0
    log=$(mktemp)
    meson setup "$dir" "$@" >"$log" 2>&1 </dev/null ||
        { tail -n 8 "$log" >&2; rm -f "$log"; die "meson setup $dir failed"; }
    rm -f "$log"
}

# build DIRECTORY [TARGET...]: compiles, showing the compiler's words only when it fails.
build() {
    local log
    log=$(mktemp)
    ninja -C "$@" >"$log" 2>&1 </dev/null ||
        { sed -n '/^FAILED\|error: \|warning: /,$p' "$log" | grep -v '^\[' | tail -n 40 >&2; rm -f "$log"; die "the build in $1 failed"; }
    rm -f "$log"
}

# seconds SINCE: of $EPOCHREALTIME, with two decimals.
seconds() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", b - a }'; }
