#!/bin/bash
# The libraries that the layer carries, out of Debian's packages, for both architectures, into
# lambdatrace/layer/vendor. Nothing is installed. To be run when a version below changes; what it
# writes is committed, and tests hold it against Amazon Linux 2023.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/lib.sh

# package=version: of Debian 12. zlib, libstdc++ and glibc are Amazon Linux's own.
packages=(libbpfcc=0.26.0+ds-1 libbpf1=1:1.1.2-0+deb12u1 libelf1=0.188-2.1)
declare -A library=([libbpfcc]=libbcc_bpf.so.0 [libbpf1]=libbpf.so.1 [libelf1]=libelf.so.1)
# Debian's architecture, the folder of its libraries, and Lambda's name
architectures=("amd64 x86_64-linux-gnu x86_64" "arm64 aarch64-linux-gnu arm64")

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    die "the libraries are taken out of Debian's packages, and this is not Debian"
scratch=$(mktemp -d)
vendor=$scratch/vendor
trap 'rm -rf "$scratch"' EXIT

# fetch ARCHITECTURE: the packages' files, into $scratch/ARCHITECTURE, with lists of its own
fetch() {
    local room=$scratch/$1
    mkdir -p "$room"/{state/lists/partial,cache/archives/partial}
    local own=(-o APT::Architecture="$1" -o APT::Architectures="$1" -o Dir::State="$room/state"
        -o Dir::State::status=/dev/null -o Dir::Cache="$room/cache" -o APT::Sandbox::User=root)
    apt-get "${own[@]}" update --quiet=2 || warn "the lists of packages could not be updated"
    (cd "$room" && apt-get "${own[@]}" download --quiet=2 "${packages[@]}") ||
        die "these packages could not be fetched: ${packages[*]}" \
            "apt-get needs a Debian 12 mirror it can reach; what it said is above"
}

mkdir -p "$vendor/licences"
{
    echo "# What is in this folder, where it is from, and what it has to be: written by tools/vendor.sh."
    echo "# file, its SHA-256, Debian's package, its version, its source, the SHA-256 of the package's file"
} >"$vendor/MANIFEST"
for line in "${architectures[@]}"; do
    read -r debian folder lambda <<<"$line"
    say "fetching libraries for $lambda"
    fetch "$debian"
    mkdir "$vendor/$lambda"
    for each in "${packages[@]}"; do
        package=${each%%=*} version=${each#*=} name=${library[${each%%=*}]}
        file=$(echo "$scratch/$debian/${package}"_*.deb)
        dpkg-deb -x "$file" "$scratch/$debian/$package"
        install -m 644 "$(readlink -f "$scratch/$debian/$package/usr/lib/$folder/$name")" "$vendor/$lambda/$name"
        install -m 644 "$scratch/$debian/$package/usr/share/doc/$package/copyright" "$vendor/licences/$package"
        source=$(dpkg-deb -f "$file" Source)
        printf '%s %s %s %s %s %s\n' "$lambda/$name" "$(sha256sum "$vendor/$lambda/$name" | cut -d' ' -f1)" \
            "$package" "$version" "${source%% *}" "$(sha256sum "$file" | cut -d' ' -f1)" >>"$vendor/MANIFEST"
    done
done
# What they refer to.
for each in Apache-2.0 GPL-2 GPL-3 LGPL-2.1 LGPL-3; do
    install -m 644 "/usr/share/common-licenses/$each" "$vendor/licences/$each"
done
rm -rf lambdatrace/layer/vendor
mv "$vendor" lambdatrace/layer/vendor
