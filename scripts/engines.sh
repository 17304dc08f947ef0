# The programs that some tests run against, built with Go into .cache; to be sourced after venv.sh.

# build_engines: names each in its variable, where it is not named already. What cannot be built is
# left out: the tests that need it are skipped.
build_engines() {
    local beam sdk=github.com/apache/beam/sdks/v2
    beam=$(sed -n 's/^apache-beam==\([^ ]*\).*/\1/p' "$checkout/requirements-test.lock")
    build_engine PRISM_BIN "prism-$beam/prism" go install "$sdk/go/cmd/prism@v$beam"
    build_engine BEAM_BOOT "boot-$beam/container" go install "$sdk/python/container@v$beam"
    build_engine PUBSUB_EMULATOR emulator/pubsub_emulator \
        go -C "$checkout/tests/pubsub_emulator" install .
}

# build_engine VARIABLE PROGRAM COMMAND...: the command puts the program into the folder GOBIN.
build_engine() {
    local variable=$1 program=$checkout/.cache/$2 output
    shift 2
    if [[ -n ${!variable:-} ]]; then
        return
    fi
    if [[ ! -x $program ]] && command -v go >/dev/null; then
        echo "unbabel_cli: building $program; this happens once" >&2
        if ! output=$(GOBIN=$(dirname -- "$program") "$@" 2>&1); then
            printf '%s\n' "$output" "unbabel_cli: $program could not be built" >&2
        fi
    fi
    if [[ -x $program ]]; then
        export "$variable=$program"
    fi
}
