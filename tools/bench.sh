#!/usr/bin/env bash
# bench.sh [quick|full] [SCENARIO...]: measures the figures to reach, each as a ratio within one run, and prints them with machine,
# kernel and seed. Scenarios: frozen base generations chain list memory micro (default: all). CRSTORE_SEED=N for other data.
# The report also goes to artifacts/bench/report.md; bench/results/ keeps the ones worth keeping.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh
mode=quick
case ${1:-} in quick | full) mode=$1; shift ;; esac
export MSBUILDDISABLENODEREUSE=1 DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
out=$PWD/artifacts/bench
mkdir -p "$out"
ensure_packages librocksdb7.8 libzstd1 gcc libc6-dev make procps
ensure_packages redis-server borgbackup || say "going on: what needs them says so"
say "building"
{
    dotnet publish tools/crstore -c Release -v q -nologo -o "$out/crstore" &&
    dotnet build bench -c Release -v q -nologo -o "$out/bench" &&
    make -s -C tests/Targets &&
    gcc -O2 -Wall -o "$out/floor" bench/floor.c
} >"$out/build.log" 2>&1 || { tail -n 20 "$out/build.log" >&2; exit 1; }
: >"$out/report.md"
export CRSTORE_BENCH_PROGRAM=$out/crstore/crstore CRSTORE_BENCH_FLOOR=$out/floor CRSTORE_BENCH_REPORT=$out/report.md
exec "$out/bench/Crstore.Bench" "$mode" "$@"
