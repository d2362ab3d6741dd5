#!/usr/bin/env bash
# run.sh [--thp never|always] [--timeout SECONDS] [--results DIR] CMD ARGS...
# Runs a command as root in a virtual machine with Debian 12's kernel (soft-dirty works there) on the host's own file system,
# which it sees read-only under an overlay in memory. DIR is /results inside, writable, and gets stdout, stderr and exit.
# Exit code: the command's; 124 if it ran too long; 125 if the machine failed; 77 if it can't be had here (the reason is on stderr).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
thp=never seconds=600 results=
while [ $# -gt 0 ]; do
    case $1 in
        --thp) thp=$2; shift 2 ;;
        --timeout) seconds=$2; shift 2 ;;
        --results) results=$2; shift 2 ;;
        --) shift; break ;;
        -*) say "run.sh: unknown option $1"; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { sed -n '2,5s/^# //p' "$0"; exit 2; }
dir=$("$here/prepare.sh")
mine=
[ -n "$results" ] || { results=$(mktemp -d); mine=$results; }
trap '[ -z "$mine" ] || rm -rf "$mine"' EXIT
mkdir -p "$results"
results=$(cd "$results" && pwd)
rm -f "$results"/{booted,exit,failed,stdout,stderr}
printf 'THP=%s\nDIRECTORY=%q\n' "$thp" "$PWD" >"$results/settings"
{
    printf 'export HOME=%q PATH=%q USER=root LANG=C.UTF-8 CRSTORE_IN_VM=1\n' "$HOME" "$PATH"
    env | sed -n 's/^\(DOTNET_[A-Z_]*\|CRSTORE_[A-Z_]*\)=.*/\1/p' | while read -r name; do printf 'export %s=%q\n' "$name" "${!name}"; done
    printf 'cd %q || exit 126\n' "$PWD"
    printf 'exec timeout -k 10 %q' "$seconds"
    printf ' %q' "$@"
    printf '\n'
} >"$results/start"
cpus=$(nproc)
code=0
# In the background, so that the shell hears a signal at once.
machine=
trap 'kill $machine 2>/dev/null; exit 125' INT TERM HUP
timeout -k 10 $((seconds + 120)) qemu-system-x86_64 -accel tcg,thread=multi,tb-size=1024 -M q35 -cpu max \
    -smp $((cpus > 4 ? 4 : cpus)) -m "${CRSTORE_VM_MEMORY:-4G}" -nodefaults -no-user-config -display none -no-reboot -net none \
    -kernel "$dir/vmlinuz" -initrd "$dir/initramfs" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on" \
    -serial "file:$results/console" -device isa-debug-exit,iobase=0x501,iosize=0x01 -device virtio-rng-pci \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -fsdev "local,id=results,path=$results,security_model=none" -device virtio-9p-pci,fsdev=results,mount_tag=results \
    >"$results/qemu" 2>&1 &
machine=$!
wait $machine || code=$?
[ ! -e "$results/stdout" ] || cat "$results/stdout"
[ ! -e "$results/stderr" ] || cat "$results/stderr" >&2
if [ -s "$results/exit" ]; then exit "$(cat "$results/exit")"; fi
say "the virtual machine failed (qemu exit code $code$([ -e "$results/booted" ] && echo ', after it had booted'))"
cat "$results/failed" "$results/qemu" 2>/dev/null >&2 || true
tail -n 20 "$results/console" >&2 || true
[ $code = 124 ] && exit 124
exit 125
