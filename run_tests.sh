#!/usr/bin/env bash
# ./run_tests.sh [PYTEST ARGUMENTS]: the tests. The first call makes .venv-test, and builds what
# some of them run against where Go is installed; where it is not, those are skipped.
# Without arguments the coverage of pipeline/ by branch is measured. It may not fall below its floor
# where nothing had to be skipped for want of a program.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/venv.sh"
source "$checkout/scripts/kernel.sh"
source "$checkout/scripts/engines.sh"

set_up_venv .venv-test requirements-test.lock
build_kernel
build_engines
cd "$checkout"
if (($# == 0)); then
    set -- --cov --cov-report=term
    if [[ -z ${PRISM_BIN:-} || -z ${BEAM_BOOT:-} || -z ${PUBSUB_EMULATOR:-} ]]; then
        set -- "$@" --cov-fail-under=0
    fi
fi
exec .venv-test/bin/python -m pytest --numprocesses=auto "$@"
