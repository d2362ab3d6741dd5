# Sourced by the scripts in tools/: what more than one of them needs.

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# ensure_packages PACKAGE...: installs the Debian packages that are missing, by apt-get, without starting any service.
# Returns 1, with a message, if that can't be done.
ensure_packages() {
    local missing=() package as_root=()
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || { say "missing Debian packages, and not root: apt-get install ${missing[*]}"; return 1; }
        as_root=(sudo -n)
    fi
    say "installing ${missing[*]}"
    # 101 from policy-rc.d: "don't start it"; only ours is removed again.
    local policy=/usr/sbin/policy-rc.d ours=0 result=0 log
    log=$(mktemp)
    if [ ! -e $policy ]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null && "${as_root[@]}" chmod 755 $policy
    fi
    # Again after a while: somebody else may have apt's locks, or the mirror a bad moment.
    local pause
    for pause in 0 5 20; do
        sleep $pause
        result=0
        { "${as_root[@]}" apt-get -q update &&
          "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1 || result=1
        [ $result = 1 ] || break
    done
    [ $ours = 0 ] || "${as_root[@]}" rm -f $policy
    [ $result = 0 ] || { say "apt-get could not install ${missing[*]}:"; tail -n 20 "$log" >&2; }
    rm -f "$log"
    return $result
}

# Libraries that crstore itself needs.
# shellcheck disable=SC2034
runtime_packages=(librocksdb7.8 libzstd1)

# What the program is linked with when it is built (Native AOT).
# shellcheck disable=SC2034
link_packages=(gcc libc6-dev)

die() { say "$(basename "$0"): $*"; exit 1; }

# find_dotnet: prints the .NET root that has an SDK 10 or newer.
find_dotnet() {
    local on_path dir
    on_path=$(command -v dotnet || true)
    for dir in "${DOTNET_ROOT:-}" "${on_path:+$(dirname "$(readlink -f "$on_path")")}" \
        /usr/share/dotnet /usr/lib/dotnet /usr/local/share/dotnet "${HOME:-/nonexistent}/.dotnet"; do
        [ -n "$dir" ] && [ -x "$dir/dotnet" ] || continue
        if "$dir/dotnet" --list-sdks 2>/dev/null | grep -qE '^[1-9][0-9]\.'; then
            printf '%s\n' "$dir"
            return 0
        fi
    done
    die "the .NET 10 SDK is needed: neither DOTNET_ROOT nor PATH nor the usual places have it"
}

# What the SDK loads at run time and brings along only as a Debian package, not unpacked from an archive.
sdk_packages=(libicu72 libssl3 ca-certificates libstdc++6 zlib1g)

# use_dotnet: sets DOTNET_ROOT and puts the SDK on the PATH, for the rest of the script.
use_dotnet() {
    DOTNET_ROOT=$(find_dotnet) || exit 1
    ensure_packages "${sdk_packages[@]}" || say "going on: if the .NET SDK does not work, this is why"
    export DOTNET_ROOT PATH="$DOTNET_ROOT:$PATH" DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
    # The SDK wants a home directory for its caches; containers may have none.
    if [ ! -w "${HOME:-/nonexistent}" ]; then
        HOME=${TMPDIR:-/tmp}/crstore-home-$(id -u)
        export HOME
        mkdir -p "$HOME"
    fi
}
