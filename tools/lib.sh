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
    { "${as_root[@]}" apt-get -q update &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1 || result=1
    [ $ours = 0 ] || "${as_root[@]}" rm -f $policy
    [ $result = 0 ] || { say "apt-get could not install ${missing[*]}:"; tail -n 20 "$log" >&2; }
    rm -f "$log"
    return $result
}
