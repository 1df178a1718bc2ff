# What the set-up scripts share. Sourced, not run; expects to be in the repository's root.

say() { printf '== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}

# stamp FILE...: what has to be the same for a step to count as done.
stamp() { cat "$@" | sha256sum | cut -d' ' -f1; }

# verified SHA256 FILE: whether the file is there and is the one that was meant.
verified() { [ -f "$2" ] && printf '%s  %s\n' "$1" "$2" | sha256sum --check --status; }

# The first Python that will do, from $PYTHON, python3 and the usual names.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python from 3.11 on can be found" \
        "on Debian 12: apt-get install python3 python3-venv; else PYTHON=/path/to/python3 make setup"
}

# install_missing PACKAGE...: those that are not installed, from Debian.
install_missing() {
    local missing=() package status
    for package in "$@"; do
        status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    [ "$(id -u)" = 0 ] || die "system packages are missing: ${missing[*]}" \
        "run this as root: the probe, the emulator and the demo's network need root, too"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet=2 || warn "the lists of packages could not be updated"
    apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >/dev/null || die \
        "these packages could not be installed: ${missing[*]}" \
        "apt-get needs a Debian 12 mirror it can reach; what it said is above"
}
