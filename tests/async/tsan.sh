#!/usr/bin/env bash
# tests/async/tsan.sh
#
# Builds the library and a program of threads, forks and shared epolls with ThreadSanitizer, in
# build-tsan, and runs it: any data race, and any connection that does not come up, is a failure. Then
# viaductd's names are asked for by many at once: the helper that resolves them has the daemon's only
# threads. Its processes share memory too, by atomic operations alone, which ThreadSanitizer does not
# follow from one process to another.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib/common.sh

configure build-tsan -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized
build build-tsan tests/async/async_sanitized tests/assoc/test_assoc daemon/viaductd
meson test -C build-tsan --no-rebuild --suite sanitized --print-errorlogs

rm -f build-tsan/race.*
TSAN_OPTIONS=die_after_fork=0:log_path=$PWD/build-tsan/race \
    python3 tests/e2e/daemon_resolve_test.py build-tsan 'system: a'
! compgen -G 'build-tsan/race.*'
