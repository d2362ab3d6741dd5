#!/usr/bin/env bash
# prepare.sh: makes kernel and initramfs of the test machine in a cache directory and prints that directory.
# The kernel is Debian 12's own (not the cloud flavour, which has no 9p): it has CONFIG_MEM_SOFT_DIRTY.
# Exit 77, with the reason, if something that it needs is not to be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
cache=${CRSTORE_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/crstore/vm}
ensure_packages qemu-system-x86 busybox-static cpio kmod >&2 || exit 77
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [ -z "$package" ]; then       # no package lists: a cached kernel will do
    package=$(cd "$cache" && ls -d linux-image-* 2>/dev/null | tail -n 1)
    [ -n "$package" ] || { say "no kernel package known: run apt-get update"; exit 77; }
fi
dir=$cache/$package
if [ ! -e "$dir/fetched" ]; then
    say "fetching $package"
    rm -rf "$dir" && mkdir -p "$dir/deb"
    (cd "$dir/deb" && { apt-get -q download "$package" || { apt-get -q update && apt-get -q download "$package"; }; }) >"$dir/log" 2>&1 ||
        { tail -n 5 "$dir/log" >&2; say "apt-get can't download $package"; exit 77; }
    dpkg -x "$dir"/deb/*.deb "$dir/root"
    rm -rf "$dir/deb"
    touch "$dir/fetched"
fi
version=${package#linux-image-}
if [ ! -e "$dir/initramfs" ] || [ "$here/init" -nt "$dir/initramfs" ] || [ "$0" -nt "$dir/initramfs" ]; then
    depmod -b "$dir/root" "$version"
    tree=$dir/tree
    rm -rf "$tree" && mkdir -p "$tree"/{bin,proc,sys,dev,host,rw,new,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    cp "$here/init" "$tree/init"
    chmod 755 "$tree/init"
    number=100
    for module in virtio_pci virtio_rng 9pnet_virtio 9p overlay; do
        modprobe -d "$dir/root" -S "$version" --show-depends $module | while read -r how path _; do
            if [ "$how" = insmod ]; then echo "$path"; fi
        done
    done | awk '!seen[$0]++' | while read -r path; do
        number=$((number + 1))
        cp "$path" "$tree/modules/$number-$(basename "$path")"
    done
    (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initramfs.new"
    cp "$dir/root/boot/vmlinuz-$version" "$dir/vmlinuz"
    mv "$dir/initramfs.new" "$dir/initramfs"
fi
echo "$dir"
