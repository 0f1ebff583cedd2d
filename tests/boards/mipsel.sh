#!/usr/bin/env bash
# The package natf on an emulated MIPS router, as a scenario of run-netns.sh: home.sh has the drawing.
# The limit includes the cross-compiler's work on a machine that has built nothing yet.
# time limit: 1500 s
set -euo pipefail
exec "$(dirname "$0")/run.sh" mipsel
