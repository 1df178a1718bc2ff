"""What an environment allows, and the advice that comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from lambdatrace.analysis.checkup import Check, Finding, StoreReport, checks
from lambdatrace.values import replaced

STORE = StoreReport("sqlite", "sqlite:///x.db", took_ms=3.2)
ROOT = [str(number) for number in range(36)] + ["sys_admin", "bpf", "perfmon"]


def report(**changes: Any) -> dict[str, Any]:
    """Of a machine where all is well; `machine__user=1000` changes one thing."""
    made: dict[str, Any] = {
        "machine": {
            "kernel": "6.1.0-49-cloud-amd64",
            "architecture": "x86_64",
            "python": "3.13.0",
            "user": 0,
            "capabilities": ROOT,
            "seccomp": "off",
            "no_new_privileges": False,
            "btf": False,
            "tracefs": "/sys/kernel/tracing",
        },
        "calls": {"bpf": "", "perf_event_open": "", "ptrace": ""},
        "backends": [
            {"name": "ebpf", "works": True, "why": "", "advice": "", "unavailable": {}},
        ],
    }
    for name, value in changes.items():
        group, _, key = name.partition("__")
        made[group][key] = value
    return made


REFUSED = {
    "name": "ebpf",
    "works": False,
    "why": "the kernel refused eBPF (EPERM)",
    "advice": "run as root",
    "unavailable": {},
}


def named(found: list[Check], name: str) -> Check:
    return next(check for check in found if check.name == name)


def test_where_all_is_well_nothing_is_advised() -> None:
    found = checks(report(), STORE)
    assert {check.finding for check in found} == {Finding.OK}
    assert [check.advice for check in found if check.advice] == []
    assert list(dict.fromkeys(check.group for check in found)) == [
        "backend", "kernel", "process", "store",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"machine__capabilities": ["net_raw"]}, "capabilities"),
        ({"calls__bpf": "EPERM"}, "bpf"),
        ({"machine__tracefs": None}, "tracefs"),
        ({"machine__kernel": "5.4.0"}, "release"),
    ],
)
def test_what_keeps_the_only_backend_from_working(changes: dict[str, Any], name: str) -> None:
    refused = {**report(**changes), "backends": [REFUSED]}
    check = named(checks(refused, STORE), name)
    assert check.finding is Finding.PROBLEM
    assert check.advice
    other = {"name": "other", "works": True, "why": "", "advice": "", "unavailable": {}}
    found = checks({**refused, "backends": [REFUSED, other]}, STORE)
    assert named(found, name).finding is Finding.NOTE
    assert Finding.PROBLEM not in {check.finding for check in found}


def test_what_only_tells_how_confined_it_is() -> None:
    confined = report(
        calls__ptrace="EPERM", calls__perf_event_open="ENOSYS", machine__seccomp="filter"
    )
    found = checks(confined, STORE)
    assert {check.finding for check in found} == {Finding.OK, Finding.NOTE}
    assert named(found, "ptrace").found == "refused (EPERM)"


def test_what_is_not_known_is_left_out() -> None:
    unknown = report(
        machine__capabilities=None, machine__seccomp=None, machine__no_new_privileges=None
    )
    names = [check.name for check in checks(unknown, STORE)]
    assert not {"capabilities", "seccomp", "no_new_privs"} & set(names)


def test_a_backend_that_does_not_see_everything() -> None:
    partial = report()
    partial["backends"][0]["unavailable"] = {"cpu": "no tracepoint sched:sched_switch"}
    found = [check for check in checks(partial, STORE) if check.group == "backend"]
    assert [check.finding for check in found] == [Finding.OK, Finding.NOTE]
    assert "cpu: no tracepoint" in found[1].found


@pytest.mark.parametrize(
    ("store", "finding", "words"),
    [
        (replaced(STORE, is_there=False), Finding.OK, "the first trace makes it"),
        (replaced(STORE, error="no table", advice="init-table"), Finding.PROBLEM, "no table"),
        (STORE, Finding.OK, "sqlite:///x.db can be read, in 3 ms"),
    ],
)
def test_the_store(store: StoreReport, finding: Finding, words: str) -> None:
    check = checks(report(), store)[-1]
    assert (check.group, check.name, check.finding) == ("store", "sqlite", finding)
    assert words in check.found


@pytest.mark.parametrize(
    ("skew", "finding", "words"),
    [
        (0.8, Finding.OK, "as the store's"),
        (-4.0, Finding.OK, "as the store's"),
        (301.0, Finding.PROBLEM, "301 s ahead of"),
        (-7.0, Finding.PROBLEM, "7 s behind"),
    ],
)
def test_the_clock(skew: float, finding: Finding, words: str) -> None:
    check = named(checks(report(), replaced(STORE, skew_s=skew)), "clock")
    assert check.finding is finding
    assert words in check.found
