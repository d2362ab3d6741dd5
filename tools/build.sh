#!/usr/bin/env bash
# build.sh: a Native AOT build of crstore in artifacts/crstore; nothing is done when that is up to date.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ensure_packages "${runtime_packages[@]}" "${link_packages[@]}" || exit 1
use_dotnet
cd "$root_dir"
mkdir -p artifacts
exec 9>artifacts/.build.lock
flock 9

# By content, so that deleted files and other checkouts count too.
sources() { find src tools/crstore Directory.Build.props Directory.Packages.props global.json -type f -not -path '*/bin/*' -not -path '*/obj/*' -print0; }
stamp=$({ dotnet --version; sources | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ "$(cat artifacts/crstore/.built 2>/dev/null)" != "$stamp" ]; then
    say "building crstore (Native AOT)"
    rm -rf artifacts/crstore.new artifacts/crstore.old
    if ! dotnet publish tools/crstore -c Release -o artifacts/crstore.new -v q -nologo >artifacts/build.log 2>&1 9>&-; then # a compiler server that stays would keep the lock
        grep -E 'error|warn' artifacts/build.log | sort -u | head -20 >&2 || tail -20 artifacts/build.log >&2
        die "the build failed: artifacts/build.log has all of it"
    fi
    # The publishing says nothing of a compiler that was killed.
    [ -s artifacts/crstore.new/crstore ] || die "the build failed: it made no program; try again"
    printf '%s\n' "$stamp" > artifacts/crstore.new/.built
    # Swapped, not overwritten: a crstore that is running keeps its files.
    [ ! -e artifacts/crstore ] || mv artifacts/crstore artifacts/crstore.old
    mv artifacts/crstore.new artifacts/crstore
    rm -rf artifacts/crstore.old
fi
printf '%s\n' "$root_dir/artifacts/crstore/crstore"
