#!/usr/bin/env bash
# man.sh [FILE]: the man page, generated from the help texts; to FILE or standard output.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
crstore=$("$root_dir/tools/build.sh")
use_dotnet
if [ $# -gt 0 ]; then "$crstore" man > "$1"; else "$crstore" man; fi
