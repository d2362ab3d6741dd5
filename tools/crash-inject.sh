#!/usr/bin/env bash
# crash-inject.sh [N]: kills crstore N times (default 10000) at random moments of freezing and injecting, equally often against
# a self-checking C program, a .NET one, python3 and node. None may notice. CRSTORE_SEED=S repeats the delays of a run.
set -euo pipefail
cd "$(dirname "$0")/.."
n=${1:-10000}
targets=selfcheck,python3,dotnet
command -v node >/dev/null && targets=$targets,node
count=$(tr ',' '\n' <<<"$targets" | wc -l)
dotnet publish tests/Crash/InjectDriver -c Release -v q -nologo -o artifacts/inject-driver
dotnet build tests/Crash -c Release -v q -nologo
export CRSTORE_KILLS=$(((n + count - 1) / count)) CRSTORE_KILL_TARGETS=$targets CRSTORE_INJECT_DRIVER=$PWD/artifacts/inject-driver/Crstore.InjectDriver
exec tests/Crash/bin/Release/net10.0/Crstore.Crash.Tests -class Crstore.Tests.Crash.Injection.InjectionKillTests -showLiveOutput -noColor
