#!/usr/bin/env bash
# bench.sh [quick|full] [SCENARIO...]: measures the figures to reach, each as a ratio within one run, and prints them with machine,
# kernel and seed. Scenarios: the files in bench/Scenarios (default: all). CRSTORE_SEED=N for other data. Reports (report.md, report.json,
# plots) go to artifacts/bench/report, those of full runs also to bench/results/DATE-full-SCENARIOS. docs/PERFORMANCE.md explains the figures.
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
for package in redis-server redis-tools nodejs zstd borgbackup restic casync; do
    ensure_packages $package || say "going on: what needs it says so"
done
program=$(tools/build.sh)
say "building the bench"
{
    dotnet build bench -c Release -v q -nologo -o "$out/bench" &&
    make -s -C tests/Targets &&
    gcc -O2 -Wall -o "$out/floor" bench/floor.c &&
    gcc -O2 -Wall -o "$out/memory_loop" bench/memory_loop.c &&
    gcc -O2 -Wall -o "$out/filler" bench/filler.c &&
    gcc -O2 -Wall -D_GNU_SOURCE -pthread -o "$out/writers" bench/writers.c
} >"$out/build.log" 2>&1 || { tail -n 20 "$out/build.log" >&2; exit 1; }
export CRSTORE_BENCH_PROGRAM=$program CRSTORE_BENCH_TOOLS=$out CRSTORE_BENCH_REPORT=$out/report
code=0
"$out/bench/Crstore.Bench" "$mode" "$@" || code=$?
if [ "$mode" = full ] && [ -e "$out/report/report.json" ]; then
    kept=bench/results/$(date -u +%F)-full$(printf -- '-%s' "${@:-all}")
    rm -rf "$kept"
    cp -r "$out/report" "$kept"
    say "kept as $kept"
fi
exit $code
