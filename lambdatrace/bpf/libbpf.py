"""ctypes bindings to libbcc_bpf: bcc's run-time half (no LLVM, no kernel headers)."""

from __future__ import annotations

import ctypes
import os

from lambdatrace.errors import ProbeError

_SONAMES = ("libbcc_bpf.so.0", "libbcc_bpf.so")


def link() -> None:
    """Have the library linked, without Python's lock, so that open_library() takes no time."""
    # Where it is not, open_library() says so.
    ctypes.CDLL(None).dlopen(_names()[0].encode(), os.RTLD_LAZY)


def _names() -> list[str]:
    named = os.environ.get("LAMBDATRACE_LIBBCC_BPF")
    return [named, *_SONAMES] if named else list(_SONAMES)


def open_library() -> ctypes.CDLL:
    """The library, from LAMBDATRACE_LIBBCC_BPF or the system. Raises ProbeError if it is absent."""
    for name in _names():
        try:
            library = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        _declare(library)
        return library
    raise ProbeError(
        "libbcc_bpf, bcc's run-time library, is not on this machine",
        "install it: apt-get install libbpfcc",
    )


def _declare(library: ctypes.CDLL) -> None:
    c_int, c_uint, text, pointer = (
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_char_p,
        ctypes.c_void_p,
    )
    library.bcc_create_map.argtypes = [c_int, text, c_int, c_int, c_int, c_int]
    library.bcc_prog_load.argtypes = [
        c_int, text, text, c_int, text, c_uint, c_int, pointer, c_uint,
    ]  # fmt: skip
    library.bpf_attach_tracepoint.argtypes = [c_int, text, text]
    library.bpf_attach_raw_tracepoint.argtypes = [c_int, text]
    library.bpf_update_elem.argtypes = [c_int, pointer, pointer, ctypes.c_ulonglong]
    library.bpf_lookup_elem.argtypes = [c_int, pointer, pointer]
    library.bpf_update_batch.argtypes = [c_int, pointer, pointer, pointer]
    library.bpf_delete_elem.argtypes = [c_int, pointer]
    library.bpf_get_first_key.argtypes = [c_int, pointer, ctypes.c_size_t]
    library.bpf_get_next_key.argtypes = [c_int, pointer, pointer]
