#!/usr/bin/env bash
# ./run_tests.sh [PYTEST ARGUMENTS]: the tests, and without arguments the coverage of pipeline/ by
# branch, which may not fall below its floor. The first call makes .venv-test.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/venv.sh"

set_up_venv .venv-test requirements-test.lock
cd "$checkout"
if (($# == 0)); then
    set -- --cov --cov-report=term
fi
exec .venv-test/bin/python -m pytest --numprocesses=auto "$@"
