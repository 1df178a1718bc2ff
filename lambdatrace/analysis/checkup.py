"""From a report of what an environment allows (`doctor`) to checks with what to do about each."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# lambdatrace needs this much of what the kernel offers (README, Limits).
OLDEST_KERNEL = (5, 10)
# Seconds. AWS refuses requests whose signature is five minutes off; what a trace says of when
# things began is off as much.
MOST_SKEW_S = 5.0
_ALL_CAPABILITIES = 38  # of Linux 5.10, without bpf, perfmon and checkpoint_restore: root's
_NEEDED = ("bpf", "perfmon")
_INSTEAD = "sys_admin"


class Finding(StrEnum):
    """How a check has come out."""

    OK = "ok"
    NOTE = "note"  # of no harm to anything, or harmful only to what does not work anyway
    PROBLEM = "problem"


class Check(Value):
    """One thing that was looked at. `advice` is what to do about it, empty if nothing is."""

    group: str  # backend, kernel, process, store
    name: str
    finding: Finding
    found: str
    advice: str = ""


class StoreReport(Value):
    """What came of reading from the store."""

    engine: str
    url: str
    is_there: bool = True
    error: str = ""
    advice: str = ""
    took_ms: float | None = None
    skew_s: float | None = None  # this machine's clock minus the store's


def checks(report: Mapping[str, Any], store: StoreReport) -> list[Check]:
    """All checks. `report` is what lambdatrace.agent.examination writes."""
    return [*environment_checks(report), *store_checks(store)]


def environment_checks(report: Mapping[str, Any]) -> list[Check]:
    """Those of a machine, or of a function's environment (lambdatrace.agent.report)."""
    backends = report["backends"]
    works = any(each["works"] for each in backends)
    # What keeps one backend from working is no problem while another does.
    trouble = Finding.NOTE if works else Finding.PROBLEM
    return [
        *(check for each in backends for check in _backend(each, trouble)),
        *_kernel(report["machine"], report["calls"], trouble),
        *_process(report["machine"], trouble),
    ]


def _backend(backend: Mapping[str, Any], trouble: Finding) -> Iterator[Check]:
    name = backend["name"]
    if not backend["works"]:
        yield Check("backend", name, trouble, backend["why"], backend["advice"])
        return
    off = backend["unavailable"]
    yield Check("backend", name, Finding.OK, "works" if off else "works, and sees everything")
    for why in dict.fromkeys(off.values()):
        groups = ", ".join(group for group, reason in off.items() if reason == why)
        yield Check("backend", name, Finding.NOTE, f"does not see {groups}: {why}")


def _kernel(
    machine: Mapping[str, Any], calls: Mapping[str, str], trouble: Finding
) -> Iterator[Check]:
    release = machine["kernel"]
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    old = numbers < OLDEST_KERNEL
    yield Check(
        "kernel",
        "release",
        trouble if old else Finding.OK,
        f"Linux {release}, {machine['architecture']}",
        "eBPF needs Linux 5.10 or later" if old else "",
    )
    for name, answer in calls.items():
        advice = ""
        if answer and name == "bpf":
            advice = "run as root or with CAP_BPF and CAP_PERFMON; a seccomp filter may refuse it"
        # Only bpf is needed; the others tell how confined this place is.
        finding = Finding.OK if not answer else trouble if name == "bpf" else Finding.NOTE
        yield Check("kernel", name, finding, f"refused ({answer})" if answer else "allowed", advice)
    tracefs = machine["tracefs"]
    yield Check(
        "kernel",
        "tracefs",
        Finding.OK if tracefs else trouble,
        tracefs or "not mounted, or not to be read",
        "" if tracefs else "as root: mount -t tracefs tracefs /sys/kernel/tracing",
    )
    yield Check("kernel", "BTF", Finding.OK, "there" if machine["btf"] else "none; not needed")


def _process(machine: Mapping[str, Any], trouble: Finding) -> Iterator[Check]:
    user = machine["user"]
    yield Check("process", "user", Finding.OK, "root" if user == 0 else str(user))
    held = machine["capabilities"]
    if held is not None:
        enough = _INSTEAD in held or all(each in held for each in _NEEDED)
        yield Check(
            "process",
            "capabilities",
            Finding.OK if enough else trouble,
            _capabilities(held),
            "" if enough else "eBPF needs bpf and perfmon, or sys_admin",
        )
    seccomp = machine["seccomp"]
    if seccomp is not None:
        advice = "it may refuse bpf(2)" if seccomp != "off" else ""
        finding = Finding.OK if seccomp == "off" else Finding.NOTE
        yield Check("process", "seccomp", finding, seccomp, advice)
    if machine["no_new_privileges"] is not None:
        found = "set" if machine["no_new_privileges"] else "not set"
        yield Check("process", "no_new_privs", Finding.OK, found)
    yield Check("process", "Python", Finding.OK, machine["python"])


def _capabilities(held: list[str]) -> str:
    if len(held) >= _ALL_CAPABILITIES:
        return f"{len(held)}, bpf and perfmon among them" if set(_NEEDED) <= set(held) else "root's"
    return ", ".join(held) or "none"


def store_checks(store: StoreReport) -> Iterator[Check]:
    """Those of a store that was read from once."""
    if store.error:
        yield Check("store", store.engine, Finding.PROBLEM, store.error, store.advice)
        return
    if not store.is_there:
        found = f"{store.url} is not there yet; the first trace makes it"
        yield Check("store", store.engine, Finding.OK, found)
        return
    took = "" if store.took_ms is None else f", in {store.took_ms:.0f} ms"
    yield Check("store", store.engine, Finding.OK, f"{store.url} can be read{took}")
    if store.skew_s is not None:
        wrong = abs(store.skew_s) > MOST_SKEW_S
        ahead = "ahead of" if store.skew_s > 0 else "behind"
        yield Check(
            "store",
            "clock",
            Finding.PROBLEM if wrong else Finding.OK,
            f"{abs(store.skew_s):.0f} s {ahead} the store's" if wrong else "as the store's",
            "set the clock (NTP): AWS refuses what is five minutes off" if wrong else "",
        )
