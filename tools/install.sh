#!/usr/bin/env bash
# install.sh [--prefix DIR]: builds crstore and puts it on the PATH, with man page and bash completion.
# Default prefix: /usr/local. PREFIX/bin/crstore is one file, and works in cron's bare environment too.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix=/usr/local
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ -n "${2:-}" ] || die "--prefix needs a directory"; prefix=$2; shift 2 ;;
        --prefix=?*) prefix=${1#*=}; shift ;;
        -h|--help) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) say "install.sh: unknown argument $1"; exit 2 ;;
    esac
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac

crstore=$("$root_dir/tools/build.sh")
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT

# sudo only if the prefix cannot be written as we are.
root_of_prefix=$prefix
while [ ! -e "$root_of_prefix" ]; do root_of_prefix=$(dirname "$root_of_prefix"); done
as_who=()
if [ ! -w "$root_of_prefix" ]; then
    command -v sudo >/dev/null || die "$root_of_prefix cannot be written: run this as root, or give --prefix DIR"
    as_who=(sudo)
fi
run() { "${as_who[@]}" "$@"; }

"$crstore" man > "$staging/crstore.1"

run mkdir -p "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions"
# Swapped, not overwritten: a crstore that is running keeps its own.
run install -m 755 "$crstore" "$prefix/bin/.crstore.new"
run mv -T "$prefix/bin/.crstore.new" "$prefix/bin/crstore"
run install -m 644 "$staging/crstore.1" "$prefix/share/man/man1/crstore.1"
run install -m 644 "$root_dir/tools/completion/crstore.bash" "$prefix/share/bash-completion/completions/crstore"

env -i PATH=/usr/bin:/bin "$prefix/bin/crstore" --version >/dev/null || die "$prefix/bin/crstore does not run in a bare environment"
echo "installed $prefix/bin/crstore"
case ":$PATH:" in *":$prefix/bin:"*) ;; *) say "note: $prefix/bin is not on your PATH" ;; esac
