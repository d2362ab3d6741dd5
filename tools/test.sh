#!/usr/bin/env bash
# test.sh [--only NAME]... [--no-vm] [--no-build]: installs what the tests need, builds everything, runs every test executable
# under tests/, and the soft-dirty ones again in a virtual machine (tools/vm), whose kernel has soft-dirty.
# --only Capture: just that one (and no virtual machine; --only Vm is the virtual machine). CRSTORE_SEED=N repeats a run's randomness.
# Logs: artifacts/test/. The last line is "N passed, N failed, N skipped"; exit code 0 only if none failed and some passed.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh
only=() vm=1 build=1
while [ $# -gt 0 ]; do
    case $1 in
        --only) only+=("${2:?--only needs the name of a project, Capture for instance}"); shift 2 ;;
        --no-vm) vm=0; shift ;;
        --no-build) build=0; shift ;;
        *) sed -n '2,5s/^# //p' "$0"; exit 2 ;;
    esac
done
out=artifacts/test
rm -rf $out
mkdir -p $out
export MSBUILDDISABLENODEREUSE=1

# Nothing could be run: say why, and end as the last line promises.
give_up() {
    say "$1"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

wanted() {
    [ ${#only[@]} -gt 0 ] || return 0
    local name
    for name in "${only[@]}"; do [ "${name,,}" = "${1,,}" ] && return 0; done
    return 1
}

# run NAME COMMAND...: one test executable; leaves NAME.json (CTRF), NAME.log and NAME.exit.
run() {
    local name=$1 began=$SECONDS code=0
    shift
    printf '%-14s ' "$name"
    timeout -k 10 "${CRSTORE_TEST_TIMEOUT:-900}" "$@" -noColor -noLogo -ctrf $out/"$name".json >$out/"$name".log 2>&1 || code=$?
    echo $code >$out/"$name".exit
    printf '%4d s  %s\n' $((SECONDS - began)) "$(sed -n 's/.*\(Total: .*\), Time.*/\1/p' $out/"$name".log | tail -n 1)"
}

(find_dotnet) >/dev/null || give_up "no .NET SDK"
use_dotnet
ensure_packages "${runtime_packages[@]}" gcc libc6-dev make python3 procps || give_up "required packages are missing"
ensure_packages gdb libc6-dbg groff-base redis-server nodejs sqlite3 tmux curl || say "going on without them: the tests that need them are skipped"

if [ $build = 1 ]; then
    say "building"
    dotnet build Checkpoint.sln -v q -nologo >$out/build.log 2>&1 ||
        { grep -E ': error|error :' $out/build.log | sort -u | head -n 40 >&2; give_up "the build failed: $out/build.log"; }
fi
make -s -C tests/Targets >$out/targets.log 2>&1 || { cat $out/targets.log >&2; give_up "tests/Targets does not compile"; }

executable() { echo "tests/$1/bin/Debug/net10.0/Crstore.$1.Tests"; }

for project in tests/*/*.csproj; do
    name=$(basename "$(dirname "$project")")
    grep -q '<OutputType>Exe' "$project" && wanted "$name" || continue
    run "$name" "$(executable "$name")"
done

# The virtual machine: everything in Differential, and what is about soft-dirty in Capture, by class name or trait.
if [ $vm = 1 ] && wanted Vm; then
    printf '%-14s ' Vm
    began=$SECONDS code=0
    tools/vm/run.sh --timeout "${CRSTORE_VM_TIMEOUT:-2700}" --results $out/vm bash tools/vm/run-tests.sh \
        "$(executable Differential)" all "$(executable Capture)" soft-dirty >$out/Vm.log 2>&1 || code=$?
    echo $code >$out/Vm.exit
    printf '%4d s\n' $((SECONDS - began))
fi
exec python3 tools/sum-tests.py $out
