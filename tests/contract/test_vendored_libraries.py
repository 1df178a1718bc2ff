"""The libraries in the layer: what the manifest says, and fit for Amazon Linux 2023."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import support_elf as elf
from support import require

import lambdatrace.layer
from lambdatrace.layer.contents import LIBRARIES, Architecture

VENDOR = Path(lambdatrace.layer.__file__).parent / "vendor"
MACHINES = {Architecture.X86_64: elf.X86_64, Architecture.ARM64: elf.AARCH64}
# Amazon Linux 2023: glibc 2.34, libstdc++ and libgcc of GCC 11, zlib 1.2.11. The newest version of
# each family there is; GNU's ABI history says which release brought which.
PLATFORM = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (11, 0)}
PLATFORM_ZLIB = (1, 2, 9)  # the newest symbol version of zlib 1.2.11
PLATFORM_LIBRARIES = {
    "libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1",
    "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
}  # fmt: skip
EACH = [(architecture, name) for architecture in Architecture for name in LIBRARIES]


def manifest() -> dict[str, list[str]]:
    lines = (VENDOR / "MANIFEST").read_text().splitlines()
    rows = [line.split(" ") for line in lines if not line.startswith("#")]
    return {name: rest for name, *rest in rows}


def test_the_manifest_names_every_library_and_its_hash() -> None:
    assert set(manifest()) == {f"{architecture}/{name}" for architecture, name in EACH}
    for name, (sha256, package, version, source, of_package) in manifest().items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256
        assert package
        assert version
        assert source
        assert re.fullmatch("[0-9a-f]{64}", of_package)


def test_every_package_brings_its_licence() -> None:
    packages = {row[1] for row in manifest().values()}
    there = {path.name for path in (VENDOR / "licences").iterdir()}
    assert packages <= there
    for name in packages:
        text = (VENDOR / "licences" / name).read_text()
        assert "Copyright:" in text
        named = set(re.findall(r"common-licenses/([A-Z][A-Za-z0-9.-]*[0-9])", text))
        assert named - {"GFDL-1.3"} <= there  # that one is for documentation


@pytest.mark.parametrize(("architecture", "name"), EACH)
def test_a_library_is_for_its_architecture_and_finds_what_it_needs(
    architecture: Architecture, name: str
) -> None:
    library = elf.read(VENDOR / architecture / name)
    assert library.machine == MACHINES[architecture]
    assert library.soname == name
    assert set(library.needed) <= PLATFORM_LIBRARIES | set(LIBRARIES)
    assert set(library.versions) <= set(library.needed)
    assert library.versions["libc.so.6"]


@pytest.mark.parametrize(("architecture", "name"), EACH)
def test_no_symbol_is_newer_than_amazon_linux_2023(architecture: Architecture, name: str) -> None:
    library = elf.read(VENDOR / architecture / name)
    for other, wanted in library.versions.items():
        if other in LIBRARIES:
            continue
        for version in wanted:
            family, _, number = version.partition("_")
            numbers = tuple(int(part) for part in number.split("."))
            assert numbers <= PLATFORM.get(family, PLATFORM_ZLIB), (other, version)


def test_a_newer_symbol_would_be_found() -> None:
    """This machine's libstdc++ is that of Debian 12, which needs a newer glibc than 2.34."""
    own = sorted(Path("/usr/lib").glob("*-linux-gnu/libstdc++.so.6"))
    require(own, "there is no libstdc++ of Debian here")
    versions = elf.read(own[0]).versions["libc.so.6"]
    newest = max(tuple(int(part) for part in name[6:].split(".")) for name in versions)
    assert newest > PLATFORM["GLIBC"]
