#!/usr/bin/env bash
# bench.sh [quick|full] [SCENARIO...]: measures the figures to reach, each as a ratio within one run, and prints them with machine,
# kernel and seed. Scenarios: frozen base generations chain list memory micro (default: all). CRSTORE_SEED=N for other data.
# The report also goes to artifacts/bench/report.md; bench/results/ keeps the ones worth keeping.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh
mode=quick
case ${1:-} in quick | full) mode=$1; shift ;; esac
export MSBUILDDISABLENODEREUSE=1
use_dotnet
out=$PWD/artifacts/bench
mkdir -p "$out"
ensure_packages "${runtime_packages[@]}" gcc libc6-dev make procps
ensure_packages redis-server borgbackup || say "going on: what needs them says so"
program=$(tools/build.sh)
say "building the bench"
{
    dotnet build bench -c Release -v q -nologo -o "$out/bench" &&
    make -s -C tests/Targets &&
    gcc -O2 -Wall -o "$out/floor" bench/floor.c
} >"$out/build.log" 2>&1 || { tail -n 20 "$out/build.log" >&2; exit 1; }
: >"$out/report.md"
export CRSTORE_BENCH_PROGRAM=$program CRSTORE_BENCH_FLOOR=$out/floor CRSTORE_BENCH_REPORT=$out/report.md
exec "$out/bench/Crstore.Bench" "$mode" "$@"
