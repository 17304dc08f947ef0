#!/usr/bin/env bash
# ./run_tests.sh [PYTEST ARGUMENTS]: the tests, with the coverage of pipeline/ by branch.
# The first call makes .venv-test from requirements-test.lock.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/venv.sh"

set_up_venv .venv-test requirements-test.lock
cd "$checkout"
if (($#)); then
    # Perhaps a part of the suite only: its coverage is shown, not judged.
    set -- --cov-fail-under=0 "$@"
fi
exec .venv-test/bin/python -m pytest --numprocesses=auto --cov --cov-report=term "$@"
