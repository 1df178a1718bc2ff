"""From what is known of a deployed function (`doctor --function`) to checks.

The agent in its environment has written a report of that, and executions; Lambda has told the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.analysis.checkup import Check, Finding, environment_checks, store_checks
from lambdatrace.analysis.times import rfc_3339
from lambdatrace.analysis.words import duration_words
from lambdatrace.errors import CorruptItemError
from lambdatrace.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lambdatrace.analysis.checkup import StoreReport
    from lambdatrace.model import Execution

DEPLOY = "lambdatrace deploy-layer --function {}"
# Ns: AWS refuses requests whose signature is five minutes off; as much off is what a trace says of
# when things began.
_MOST_SKEW_NS = 5_000_000_000
_MACHINE: dict[str, tuple[type, ...]] = {
    "kernel": (str,),
    "architecture": (str,),
    "python": (str,),
    "user": (int,),
    "capabilities": (list, type(None)),
    "seccomp": (str, type(None)),
    "no_new_privileges": (bool, type(None)),
    "btf": (bool,),
    "tracefs": (str, type(None)),
}
_LOG_LINES = 5


class Invoked(Value):
    """The invocation that was made to look."""

    request_id: str
    error: str | None  # what Lambda says of a function that failed
    began_ns: int  # since the epoch, on the store's clock as far as that is known
    ended_ns: int
    agent_lines: tuple[str, ...]  # what the agent has said in the end of its log


class Deployed(Value):
    """What is known of a function."""

    name: str
    layer: str | None  # ARN of lambdatrace's; None: it has none
    is_image: bool
    table: str  # empty: its agent is told of none
    keys_fit: bool | None  # of that table; None: not known
    expires: bool | None
    why_not_known: str
    invoked: Invoked | None
    execution: Execution | None  # the invocation's, if it has come; else None
    waited_s: float
    report: Mapping[str, Any] | None  # the latest, as items.py describes it
    written_ns: int  # when that was, since the epoch on its own clock


def function_checks(deployed: Deployed, store: StoreReport | None) -> list[Check]:
    """All checks. Raises CorruptItemError for a report that is none."""
    found = [*_layer(deployed), *_invocation(deployed), *_report(deployed)]
    if deployed.report is not None:
        found += environment_checks(_checked(deployed.report))
    if store is not None:
        found += store_checks(store)
        found += _table(deployed)
    return found


def _check(name: str, finding: Finding, found: str, advice: str = "") -> Check:
    return Check("function", name, finding, found, advice)


def _layer(deployed: Deployed) -> Iterator[Check]:
    if deployed.layer is not None:
        yield _check("layer", Finding.OK, deployed.layer)
    elif deployed.is_image:
        yield _check("layer", Finding.OK, "none: an image brings the agent itself")
    else:
        advice = DEPLOY.format(deployed.name)
        yield _check("layer", Finding.PROBLEM, "none of lambdatrace", advice)
    if deployed.table:
        yield _check("table", Finding.OK, deployed.table)
    else:
        advice = "set LAMBDATRACE_STORE, or " + DEPLOY.format(deployed.name)
        yield _check("table", Finding.PROBLEM, "its agent is told of no table", advice)


def _invocation(deployed: Deployed) -> Iterator[Check]:
    invoked = deployed.invoked
    if invoked is None:
        return
    took = duration_words(max(0, invoked.ended_ns - invoked.began_ns))
    if invoked.error is None:
        yield _check("invocation", Finding.OK, f"{invoked.request_id} was answered after {took}")
    else:
        # The function's own business: it is traced all the same.
        yield _check("invocation", Finding.NOTE, f"{invoked.request_id} failed: {invoked.error}")
    for line in invoked.agent_lines[:_LOG_LINES]:
        yield _check("log", Finding.NOTE, line)
    execution = deployed.execution
    if execution is None:
        advice = (
            "a busy environment writes after a minute at the latest: try --no-invoke then; else "
            f"look at the function's log for `lambdatrace:`, and: {DEPLOY.format(deployed.name)}"
        )
        waited = f"the invocation's has not come within {deployed.waited_s:.0f} s"
        yield _check("trace", Finding.PROBLEM, waited, advice)
        return
    seen = f"by {execution.backend}, {execution.status}"
    why = f", because {execution.backend_why}" if execution.backend_why else ""
    yield _check("trace", Finding.OK, f"the invocation's is there: {seen}{why}")


def _report(deployed: Deployed) -> Iterator[Check]:
    if deployed.report is None:
        advice = "an agent of this version writes one with its environment's first execution: "
        advice += DEPLOY.format(deployed.name)
        yield _check("report", Finding.PROBLEM, "no environment has written one", advice)
        return
    version = deployed.report.get("version")
    of = f" of version {version}" if isinstance(version, str) else ""
    when = rfc_3339(deployed.written_ns)
    yield _check("report", Finding.OK, f"of an environment{of}, written {when}")
    invoked = deployed.invoked
    if invoked is None:
        return
    ahead = deployed.written_ns - (invoked.ended_ns + int(deployed.waited_s * 1e9))
    if ahead > _MOST_SKEW_NS:
        found = f"{ahead / 1e9:.0f} s ahead of the store's"
        yield _check("clock", Finding.PROBLEM, found, "AWS refuses what is five minutes off")


def _table(deployed: Deployed) -> Iterator[Check]:
    if deployed.keys_fit is None:
        if deployed.why_not_known:
            yield Check("store", "table", Finding.NOTE, deployed.why_not_known)
        return
    if deployed.keys_fit:
        yield Check("store", "keys", Finding.OK, "as they should be")
    else:
        advice = "take another table: lambdatrace init-table makes one"
        yield Check("store", "keys", Finding.PROBLEM, "not lambdatrace's", advice)
    if deployed.expires is not None:
        advice = (
            "" if deployed.expires else "switch its TTL on, by ExpiresAt: lambdatrace init-table"
        )
        finding = Finding.OK if deployed.expires else Finding.NOTE
        found = "expired items go" if deployed.expires else "nothing in it ever goes"
        yield Check("store", "TTL", finding, found, advice)


def _checked(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """A report with everything that checks ask it for. Raises CorruptItemError."""
    machine, calls, backends = (report.get(name) for name in ("machine", "calls", "backends"))
    well = (
        isinstance(machine, dict)
        and all(isinstance(machine.get(name, ...), kinds) for name, kinds in _MACHINE.items())
        and all(isinstance(each, str) for each in machine["capabilities"] or ())
        and isinstance(calls, dict)
        and all(isinstance(answer, str) for answer in calls.values())
        and isinstance(backends, list)
        and all(map(_is_backend, backends))
    )
    if not well:
        raise CorruptItemError(
            "the report of an environment is not what it should be",
            "another one comes with the next environment",
        )
    return report


def _is_backend(backend: Any) -> bool:
    if not isinstance(backend, dict) or not isinstance(backend.get("name"), str):
        return False
    if backend.get("works") is True:
        off = backend.get("unavailable")
        return isinstance(off, dict) and all(isinstance(why, str) for why in off.values())
    told = (backend.get("why"), backend.get("advice"))
    return backend.get("works") is False and all(isinstance(each, str) for each in told)
