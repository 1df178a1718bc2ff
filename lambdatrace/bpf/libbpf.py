"""Bindings to libbcc_bpf: bcc's run-time half (no LLVM, no kernel headers)."""

from __future__ import annotations

import os

from lambdatrace.bpf.native import Int, Library, Pointer, Size, Text, Unsigned, Word
from lambdatrace.errors import ProbeError

_SONAMES = ("libbcc_bpf.so.0", "libbcc_bpf.so")


def link() -> None:
    """Have the library linked, without Python's lock, so that open_library() takes no time."""
    # Where it is not, open_library() says so.
    Library(None).dlopen(_names()[0].encode(), os.RTLD_LAZY)


def _names() -> list[str]:
    named = os.environ.get("LAMBDATRACE_LIBBCC_BPF")
    return [named, *_SONAMES] if named else list(_SONAMES)


def open_library() -> Library:
    """The library, from LAMBDATRACE_LIBBCC_BPF or the system. Raises ProbeError if it is absent."""
    for name in _names():
        try:
            library = Library(name)
        except OSError:
            continue
        _declare(library)
        return library
    raise ProbeError(
        "libbcc_bpf, bcc's run-time library, is not on this machine",
        "install it: apt-get install libbpfcc",
    )


def _declare(library: Library) -> None:
    library.bcc_create_map.argtypes = [Int, Text, Int, Int, Int, Int]
    library.bcc_prog_load.argtypes = [
        Int, Text, Text, Int, Text, Unsigned, Int, Pointer, Unsigned,
    ]  # fmt: skip
    library.bpf_attach_tracepoint.argtypes = [Int, Text, Text]
    library.bpf_attach_raw_tracepoint.argtypes = [Int, Text]
    library.bpf_update_elem.argtypes = [Int, Pointer, Pointer, Word]
    library.bpf_lookup_elem.argtypes = [Int, Pointer, Pointer]
    library.bpf_update_batch.argtypes = [Int, Pointer, Pointer, Pointer]
    library.bpf_delete_elem.argtypes = [Int, Pointer]
    library.bpf_get_first_key.argtypes = [Int, Pointer, Size]
    library.bpf_get_next_key.argtypes = [Int, Pointer, Pointer]
