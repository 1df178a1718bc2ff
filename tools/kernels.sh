#!/bin/bash
# The probe's self-test on Debian's kernels, under qemu: the stock one, and the newest of every other
# series that apt-get offers here (KERNELS="PACKAGE ..." for others). Nothing of them is installed.
# MACHINE=aarch64 does so for arm64, emulated all of it, Python included.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

LIMIT=${LIMIT:-900}  # seconds a guest may take
# Emulation takes seconds and works everywhere. KVM in a machine that is a guest itself may be there and
# yet break the guest's memory: it is used where it is asked for.
ACCEL=${ACCEL:-tcg}
MACHINE=${MACHINE:-x86_64}
foreign=()  # what apt-get and apt-cache are told about packages of another machine
case $MACHINE in
    x86_64)
        [ "$(uname -m)" = x86_64 ] || die "these guests are made of an x86_64's own files" "MACHINE=aarch64"
        architecture=amd64 emulator=qemu-system-x86 console=ttyS0 qemu=(qemu-system-x86_64 -cpu max)
        ;;
    aarch64)
        architecture=arm64 emulator=qemu-system-arm console=ttyAMA0
        qemu=(qemu-system-aarch64 -machine virt -cpu "max,pauth-impdef=on")
        state=$PWD/.tools/kernels/apt  # this machine's own lists and status stay as they are
        mkdir -p "$state"/{lists,archives}/partial
        touch "$state/status"
        foreign=(-o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state"
            -o APT::Architecture=arm64 -o APT::Architectures::=arm64)
        ;;
    *) die "there is no guest for $MACHINE" "MACHINE=x86_64 or MACHINE=aarch64" ;;
esac
STOCK=linux-image-cloud-$architecture
[ -x /usr/bin/python3 ] && command -v apt-get >/dev/null ||
    die "the guests are made of Debian's packages, and this is not Debian"
install_missing "$emulator" cpio python3

mkdir -p .tools/kernels
scratch=$(mktemp -d .tools/kernels/building.XXXXXX)
guest=
trap '[ -z "$guest" ] || kill "$guest" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# --- which kernels: packages with an image in them, not those that only point at one -----------------
# series PACKAGE: 6.1 of linux-image-6.1.0-56-cloud-amd64
series() { sed -E 's/^linux-image-([0-9]+\.[0-9]+).*/\1/' <<<"$1"; }

# image_of PACKAGE: itself, or the package with the image that it stands for
image_of() {
    local image
    image=$(apt-cache "${foreign[@]}" depends --important "$1" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' || true)
    echo "${image:-$1}"
}

choose_kernels() {
    local stock newest offered
    stock=$(image_of $STOCK)
    [ "$stock" != $STOCK ] || die "apt-get does not know $STOCK" "it is in Debian's main section"
    kernels=("$stock")
    offered=$(apt-cache "${foreign[@]}" search --names-only "^linux-image-[0-9].*-cloud-$architecture\$" | cut -d' ' -f1 | sort -V)
    for each in $(for package in $offered; do series "$package"; done | sort -uV); do
        newest=$(grep -E "^linux-image-${each//./\\.}[.-]" <<<"$offered" | tail -1)
        [ "$each" = "$(series "$stock")" ] || kernels+=("$(image_of "$newest")")
        oldest=${oldest:-$each}
    done
    [ "$oldest" != "$(series "$stock")" ] ||
        say "apt-get offers no kernel older than Debian's stock $oldest here"
}

apt-get "${foreign[@]}" update --quiet=2 || warn "the lists of packages could not be updated"
kernels=()
if [ -n "${KERNELS:-}" ]; then
    for package in $KERNELS; do kernels+=("$(image_of "$package")"); done
else
    choose_kernels
fi

# --- a kernel: one file out of its package ------------------------------------------------------------
# download PACKAGE...: into $scratch
download() {
    (cd "$scratch" && apt-get "${foreign[@]}" download --quiet=2 -o APT::Sandbox::User=root "$@") ||
        die "$* could not be fetched" "apt-get needs a Debian mirror it can reach; what it said is above"
}

# fetch_kernel PACKAGE: sets $kernel
fetch_kernel() {
    local version
    version=$(apt-cache "${foreign[@]}" show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -1 || true)
    [ -n "$version" ] || die "apt-get does not know the package $1" "apt-cache pkgnames linux-image-"
    kernel=.tools/kernels/$1_$version
    [ ! -f "$kernel" ] || return 0
    say "fetching $1 $version"
    download "$1=$version"
    dpkg-deb --fsys-tarfile "$scratch/$1"_*.deb |
        tar -x -C "$scratch" --wildcards --transform 's,.*/,,' './boot/vmlinuz-*' ||
        die "there is no kernel in the package $1"
    mv "$scratch"/vmlinuz-* "$kernel"
    rm "$scratch/$1"_*.deb
}

# --- the guest: a Python and its libraries, this package, no shell --------------------------------------
# own_python ROOT: this machine's
own_python() {
    local root=$1 python binaries libraries
    python=$(readlink -f /usr/bin/python3)
    binaries=("$python" /usr/lib/"$(basename "$python")"/lib-dynload/*.so)
    libraries=$(ldd "${binaries[@]}" | grep -oE '/[^ ]+\.so[^ ]*' | grep -v ':$' | sort -u)
    mkdir -p "$root"/lib64
    # As in Debian, where /lib is /usr/lib: the libraries are known by both names.
    mkdir -p "$root/usr/lib/x86_64-linux-gnu"
    ln -s usr/lib "$root/lib"
    cp -L $libraries "$root/usr/lib/x86_64-linux-gnu/"
    cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
    cp -L "$python" "$root/usr/bin/python3"
    tar -c -C /usr/lib --exclude test --exclude tests --exclude ensurepip --exclude idlelib \
        --exclude lib2to3 --exclude pydoc_data --exclude dist-packages "$(basename "$python")" |
        tar -x -C "$root/usr/lib"
}

# packaged_python ROOT: another machine's, out of Debian's packages
packaged_python() {
    local root=$1 version package
    version=$(apt-cache "${foreign[@]}" depends --important python3-minimal |
        sed -n 's/.*Depends: \(python3\.[0-9]*\)-minimal$/\1/p')
    download "$version-minimal" "lib$version-minimal" "lib$version-stdlib" libc6 libgcc-s1 libstdc++6 \
        zlib1g libexpat1 libffi8 libssl3 libuuid1 libcrypt1
    for package in "$scratch"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude './usr/share/*'
        rm "$package"
    done
    cp -a "$root/lib/." "$root/usr/lib/"
    rm -r "$root/lib"
    ln -s usr/lib "$root/lib"
    ln -s "$version" "$root/usr/bin/python3"
}

build_guest() {
    local root=$scratch/root
    mkdir -p "$root"/{bin,etc,dev,proc,sys,tmp,lambdatrace/tests/kernels} "$root/usr/bin"
    if [ ${#foreign[@]} = 0 ]; then own_python "$root"; else packaged_python "$root"; fi
    tar -c --exclude __pycache__ lambdatrace tests/kernels | tar -x -C "$root/lambdatrace"
    mv "$root/lambdatrace/tests/kernels/init.py" "$root/init"
    chmod 755 "$root/init"
    (cd "$root" && find . -print0 | cpio --null --create --format=newc --quiet) | gzip -1 >"$scratch/guest"
}

# --- run ------------------------------------------------------------------------------------------------
# boot PACKAGE: whether the self-test passes on it
boot() {
    local log=.tools/kernels/$1.log status=0 begun=$SECONDS ended
    timeout "$LIMIT" nice -n 15 "${qemu[@]}" -accel "$ACCEL" \
        -smp 2 -m 1024 -nodefaults -display none -no-reboot -serial "file:$log" \
        -kernel "$kernel" -initrd "$scratch/guest" \
        -append "console=$console quiet panic=-1" </dev/null &
    guest=$!  # not in the foreground: what ends this script has to end the guest
    wait "$guest" || status=$?
    guest=
    ended=$(tr -d '\r' <"$log" | sed -n 's/^self-test ended with \(-\?[0-9]*\)$/\1/p')
    if [ "$status" = 0 ] && [ "$ended" = 0 ]; then
        tr -d '\r' <"$log" | grep -aE '^(kernel |loaded |unavailable|[0-9]+ connections|[0-9]+ checks)'
        say "$1: passed, $((SECONDS - begun)) s"
        return
    fi
    cat "$log"
    case $status in
        0) warn "$1: $([ -n "$ended" ] && echo the self-test failed || echo the guest ended before its self-test)" ;;
        124) warn "$1: the guest was not done after $LIMIT s (LIMIT=SECONDS make test-kernels)" ;;
        *) warn "$1: qemu ended with $status" ;;
    esac
    return 1
}

say "building the guest"
build_guest
failed=()
for package in "${kernels[@]}"; do
    fetch_kernel "$package"
    say "booting $package"
    boot "$package" || failed+=("$package")
done
[ ${#failed[@]} = 0 ] || die "the self-test failed on ${failed[*]}" "consoles: .tools/kernels/*.log"
