#!/usr/bin/env bash
# tests/async/tsan.sh
#
# Builds the library and a program of threads, forks and shared epolls with ThreadSanitizer, in
# build-tsan, and runs it: any data race, and any connection that does not come up, is a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lib/common.sh

configure build-tsan -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized
build build-tsan
meson test -C build-tsan --no-rebuild --suite sanitized --print-errorlogs
