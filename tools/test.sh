#!/usr/bin/env bash
# test.sh [--only NAME]... [--no-vm] [--no-build]: installs what the tests need, builds everything, runs every test executable
# under tests/, and the soft-dirty ones again in a virtual machine (tools/vm), whose kernel has soft-dirty; it runs beside the others.
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
export DOTNET_TieredPGO=0    # counting calls for a better second compilation costs more than short processes get back

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

# run NAME COMMAND...: one test executable; leaves NAME.json (CTRF), NAME.log and NAME.exit. Says how long it took, and what of the processors.
run() {
    local name=$1 began=$SECONDS code=0 TIMEFORMAT='%U %S' used
    shift
    printf '%-14s ' "$name"
    { time timeout -k 10 "${CRSTORE_TEST_TIMEOUT:-1800}" "$@" -noColor -noLogo -ctrf $out/"$name".json >$out/"$name".log 2>&1 || code=$?; } 2>$out/"$name".times
    echo $code >$out/"$name".exit
    used=$(awk 'END { printf "%d", $1 + $2 }' $out/"$name".times)
    printf '%4d s (%4d s of processors)  %s\n' $((SECONDS - began)) "$used" "$(sed -n 's/.*\(Total: .*\), Time.*/\1/p' $out/"$name".log | tail -n 1)"
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
# The program as it is published, which Cli runs: it takes minutes on a slow machine, and would count as Cli's.
if wanted Cli; then tools/build.sh >/dev/null || give_up "the program can't be published"; fi
make -s -C tests/Targets >$out/targets.log 2>&1 || { cat $out/targets.log >&2; give_up "tests/Targets does not compile"; }

executable() { echo "tests/$1/bin/Debug/net10.0/Crstore.$1.Tests"; }

# test_projects: the names of those that are wanted; those that measure how long a freeze takes come first.
test_projects() {
    local project name
    for project in tests/{Capture,Linux}/*.csproj tests/*/*.csproj; do
        name=$(basename "$(dirname "$project")")
        grep -q '<OutputType>Exe' "$project" && wanted "$name" && echo "$name"
    done | awk '!seen[$0]++'
}

# The virtual machine: everything in Differential, and what is about soft-dirty in Capture, by class name or trait. Most of what the
# others do is to wait, and it computes on about one processor. It steps back for them (nice), but not so far that what is in it
# waits for a minute and gives up.
machine=
start_machine() {
    [ $vm = 1 ] && wanted Vm || return 0
    vm=0 machine_began=$SECONDS
    nice -n 5 tools/vm/run.sh --timeout "${CRSTORE_VM_TIMEOUT:-5400}" --results $out/vm bash tools/vm/run-tests.sh \
        "$(executable Differential)" all "$(executable Capture)" soft-dirty >$out/Vm.log 2>&1 &
    machine=$!
    echo 125 >$out/Vm.exit    # until it says otherwise
}
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null' EXIT

# Those that wait more than they compute share the processors with those that compute; no others: what restarts with old process ids
# doesn't bear suites that start processes by the thousand.
beside=(Differential Restore Store)
run_beside() {
    local name
    for name in "${beside[@]}"; do ! wanted "$name" || run "$name" "$(executable "$name")"; done
}

for name in $(test_projects); do
    case $name in Capture | Linux) ;; *) start_machine ;; esac
    case " ${beside[*]} " in *" $name "*) continue ;; esac
    [ "$name" != Restart ] || { run_beside >$out/beside.txt & others=$!; }
    run "$name" "$(executable "$name")"
done
[ -n "${others:-}" ] || { run_beside >$out/beside.txt & others=$!; }
wait "$others"
cat $out/beside.txt
start_machine
if [ -n "$machine" ]; then
    code=0
    wait "$machine" || code=$?
    machine=
    echo $code >$out/Vm.exit
    printf '%-14s %4d s  beside the others\n' Vm $((SECONDS - machine_began))
fi
exec python3 tools/sum-tests.py $out
