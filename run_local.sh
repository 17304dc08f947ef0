#!/usr/bin/env bash
# ./run_local.sh [OPTIONS]: unbabel_cli from a checkout, with nothing needed but Python 3.10 or newer.
# The first call makes .venv from requirements.lock. Without options it runs the example.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/venv.sh"
source "$checkout/scripts/kernel.sh"

set_up_venv .venv requirements.lock
build_kernel
if (($# == 0)); then
    cd "$checkout"
    set -- --input_file sample_data/events.json --window_size 10
fi
# By its file, not by -m: that would import from the caller's folder first.
exec "$checkout/.venv/bin/python" "$checkout/unbabel_cli.py" "$@"
