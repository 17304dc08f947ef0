# Environments made from the locks; to be sourced by the scripts at the top and by .ci/run.

checkout=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# Prints the newest supported Python on the PATH.
find_python() {
    local name found=
    for name in python3.13 python3.12 python3.11 python3.10 python3; do
        # Asked, not only looked up: a launcher may stand for a version that is not there.
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    found=$(python3 -c 'import platform; print(", found only", platform.python_version())' 2>&1) ||
        found=
    echo "unbabel_cli: needs Python 3.10 or newer$found: install it, and see that it is on the PATH" >&2
    return 1
}

# install_lock FOLDER LOCK: makes a virtual environment with what the lock lists, nothing else.
# The lock is complete, so nothing is resolved: pip would ask for a hash of newer releases, too.
install_lock() {
    local folder=$1 lock=$2 python
    python=$(find_python) || return
    if command -v uv >/dev/null; then
        uv venv --quiet --allow-existing --no-project --python "$python" "$folder" &&
            uv pip install --quiet --compile-bytecode --python "$folder/bin/python" \
                --no-deps --require-hashes -r "$lock"
    else
        "$python" -m venv "$folder" &&
            "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
                --no-deps --require-hashes -r "$lock"
    fi
}

# set_up_venv FOLDER LOCK: both in the checkout. Returns at once when FOLDER was made from LOCK as
# it is now; else makes FOLDER anew, with the checkout importable.
set_up_venv() {
    local folder=$checkout/$1 lock=$checkout/$2
    local stamp=$folder/.made-from wanted
    wanted=$(cksum <"$lock")
    if venv_is_ready; then
        return
    fi
    if [[ -d $folder && ! -e $stamp && -n $(ls -A "$folder") ]]; then
        echo "unbabel_cli: $folder was not made by this script: move it away to have it made" >&2
        return 1
    fi
    # The lock is the kernel's: it ends with the processes that hold it, however they end.
    (
        trap 'exit 130' INT
        python=$(find_python) || exit
        echo "unbabel_cli: installing $2 into $1; this happens once and may take minutes" >&2
        "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || exit
        if venv_is_ready; then
            exit
        fi
        mkdir -p "$folder" && echo unfinished >"$stamp" || exit
        find "$folder" -mindepth 1 -maxdepth 1 ! -name .made-from -exec rm -rf {} + || exit
        if ! output=$(cd "$checkout" && install_lock "$1" "$2" 2>&1); then
            printf '%s\n' "$output" "unbabel_cli: $1 could not be made" >&2
            exit 1
        fi
        # Relative to site-packages, so that the checkout can be moved.
        for packages in "$folder"/lib/python*/site-packages; do
            echo ../../../.. >"$packages/checkout.pth" || exit
        done
        echo "$wanted" >"$stamp"
    ) 9>"$folder.lock"
}

venv_is_ready() {
    [[ -x $folder/bin/python && -r $stamp && $(<"$stamp") == "$wanted" ]]
}
