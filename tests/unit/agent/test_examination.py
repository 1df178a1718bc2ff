"""What a process is allowed, from /proc/self/status; tests/integration/doctor asks the kernel."""

from __future__ import annotations

import pytest

from lambdatrace.agent.confinement import CAPABILITIES, capabilities, machine

STATUS = """Name:\tpython3
Uid:\t993\t993\t993\t993
CapEff:\t{mask}
NoNewPrivs:\t1
Seccomp:\t2
"""


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", []),
        ("0000000000000001", ["chown"]),
        ("000001ffffffffff", list(CAPABILITIES)),
        ("000000c000000000", ["perfmon", "bpf"]),
        ("0000000000200000", ["sys_admin"]),
        ("", None),
        ("x", None),
    ],
)
def test_capabilities(mask: str, names: list[str] | None) -> None:
    assert capabilities(mask) == names


def test_a_confined_process() -> None:
    found = machine(STATUS.format(mask="0000000000000000"))
    assert (found["capabilities"], found["seccomp"], found["no_new_privileges"]) == (
        [], "filter", True,
    )  # fmt: skip


def test_a_kernel_that_does_not_tell() -> None:
    found = machine("Name:\tpython3\n")
    assert (found["capabilities"], found["seccomp"], found["no_new_privileges"]) == (None,) * 3
