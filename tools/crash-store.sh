#!/usr/bin/env bash
# crash-store.sh [KILLS] [SEED]: the store's kill loop for as long as you like (default 10000 kills).
# A failure prints its seed; CRSTORE_SEED or the second argument repeats it (the moments of death differ all the same).
set -euo pipefail
cd "$(dirname "$0")/.."
export CRSTORE_KILLS="${1:-10000}"
[ -z "${2:-}" ] || export CRSTORE_SEED="$2"
dotnet build tests/Crash -v q -nologo
exec tests/Crash/bin/Debug/net10.0/Crstore.Crash.Tests -method '*Whatever_instant_a_writer_is_killed*' -showliveoutput
