# The compiled parser; to be sourced after venv.sh.

# build_kernel: makes the libraries of pipeline/parsing/native, and returns at once when they were
# made from what the checkout has. Its tools take much room, so they are removed again. Where they
# do not work parsing is slow, and it is tried again when one of the sources has changed.
build_kernel() {
    local folder=$checkout/pipeline/parsing/native tools=.venv-kernel wanted
    wanted=$(cd "$checkout/scripts" && cksum ../pipeline/parsing/kernel.py build_kernel.py kernel-tools.lock)
    if kernel_is_built; then
        return
    fi
    mkdir -p "$folder"
    # As in set_up_venv: one builds, the others wait for it.
    (
        "$(find_python)" -c 'import fcntl; fcntl.flock(8, fcntl.LOCK_EX)' || exit
        if kernel_is_built; then
            exit
        fi
        if ! { set_up_venv "$tools" scripts/kernel-tools.lock &&
            "$checkout/$tools/bin/python" "$checkout/scripts/build_kernel.py"; }; then
            echo "unbabel_cli: there is no compiled parser; to try again, remove $folder" >&2
        fi
        echo "$wanted" >"$folder/.made-from"
        rm -rf "${checkout:?}/$tools"
    ) 8>"$folder/.lock"
}

kernel_is_built() {
    [[ -r $folder/.made-from && $(<"$folder/.made-from") == "$wanted" ]]
}
