#!/usr/bin/env bash
# demo.sh [--mib N] [--keep]: a live process checkpointed in a chain, any CRID of it restored, one forgotten, one running again.
# --mib: memory of the target (default 240). --keep: leave store and images behind and say where.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mib=240 keep=
while [ $# -gt 0 ]; do
    case $1 in
        --mib) mib=${2:?--mib needs a number}; shift 2 ;;
        --keep) keep=1; shift ;;
        -h|--help) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) say "demo.sh: unknown argument $1"; exit 2 ;;
    esac
done

ensure_packages "${runtime_packages[@]}" python3 || exit 1
ensure_packages gdb || say "going on: its part is left out"
program=$("$root_dir/tools/build.sh")
use_dotnet
# Not the one on the PATH, which may be a version manager's shell script.
python=/usr/bin/python3
work=$(mktemp -d "${TMPDIR:-/tmp}/crstore-demo.XXXXXX")
export CRSTORE_STORE=$work/store
target=

finish() {
    local code=$?
    if [ -n "$target" ] && kill -0 "$target" 2>/dev/null; then kill "$target"; wait "$target" 2>/dev/null || true; fi
    if [ -n "$keep" ]; then say "kept: $work"; else rm -rf "$work"; fi
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s\n' "$*"; }
crstore() { "$program" "$@"; }
fail() { echo "FAILED: $*"; exit 1; }

# next_generation: tells the target to go on and waits until it has recorded what its pages hold.
next_generation() {
    [ -z "${1:-}" ] || echo go >&"${demo_target[1]}"
    read -r -t 120 _ generation _ <&"${demo_target[0]}" || fail "the target does not answer"
}

# compare CRID GENERATION: restores to a core and compares with the target's own record.
compare() {
    rm -f "$work/core"
    crstore restore "$1" --to "$work/core" --quiet
    "$python" "$root_dir/tools/demo_compare.py" "$work/core" "$work/generation-$2.json" || fail "CRID $1 is not what generation $2 was"
}

started=$SECONDS
step "a target: python3 with $mib MiB of buffers, $((mib / 5)) MiB of them sparse, and 120000 objects"
coproc demo_target { exec "$python" "$root_dir/tools/demo_target.py" "$work" --mib "$mib"; }
target=$demo_target_PID
next_generation
echo "pid $target, $(awk '/^VmRSS/ { printf "%d MiB resident", $2 / 1024 }' "/proc/$target/status")"

step "a base and four increments while it runs"
crids=()
for n in 1 2 3 4 5; do
    [ $n = 1 ] || next_generation go
    crid=$(crstore capture "$target" --series demo --quiet)
    crids+=("$crid")
    echo "generation $n: CRID $crid"
done

step "the chain (pages of 4 KiB; NEW: after dedup)"
crstore list --series demo --json | "$python" "$root_dir/tools/demo_table.py"

step "the third CRID, ${crids[2]}, as an ELF core, compared with what the target recorded at that moment"
compare "${crids[2]}" 3
if "$python" "$root_dir/tools/demo_compare.py" "$work/core" "$work/generation-5.json" >/dev/null; then fail "it is generation 5 as well: the comparison proves nothing"; fi
echo "  (and it differs from generation 5, as it must)"

step "gdb"
if command -v gdb >/dev/null; then
    gdb -nx -batch -ex 'set pagination off' -ex 'info threads' -ex 'bt 4' "$(readlink "/proc/$target/exe")" "$work/core" 2>/dev/null |
        grep -E '^(\*| +[0-9]|#|Core was)' | cut -c1-110 || fail "gdb cannot open the core"
else
    echo "not installed, left out"
fi

step "forget CRID ${crids[1]} from the middle, and gc"
crstore forget "${crids[1]}"
crstore gc
if crstore show "${crids[1]}" >/dev/null 2>&1; then fail "CRID ${crids[1]} is still there"; fi

step "verify, every byte"
crstore verify --all --read-data

step "the others still restore"
for n in 1 3 4 5; do
    echo "CRID ${crids[n - 1]}:"
    compare "${crids[n - 1]}" "$n"
done

if [ "$(id -u)" = 0 ]; then
    step "the target is killed, and CRID ${crids[2]} runs again"
    kill -9 "$target"
    wait "$target" 2>/dev/null || true
    # Its standard input and output were pipes of this script: others take their place.
    mkfifo "$work/in" "$work/out"
    exec {to_target}<>"$work/in" {from_target}<>"$work/out"
    demo_target=("$from_target" "$to_target")
    target=$(crstore restart "${crids[2]}" --detach --map-fd 0="$work/in" --map-fd 1="$work/out" --map-fd 2=/dev/null)
    rm -f "$work/generation-4.json"
    next_generation go
    [ "$generation" = 4 ] || fail "it went on with generation $generation, not 4"
    crid=$(crstore capture "$target" --series demo --quiet)
    echo "pid $target again; from generation 3 it went on to $generation, captured as CRID $crid"
    compare "$crid" 4
else
    step "no restart: choosing process ids needs root"
fi

step "what it took"
crstore stats | head -7
kill -0 "$target" 2>/dev/null || fail "the target is gone"
echo "the target still runs; all done in $((SECONDS - started)) s"
