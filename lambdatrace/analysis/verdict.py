"""Why an execution took as long as it did, or failed: one sentence, and the rows that carry it.

docs/verdict.md says in which order causes are looked for, and what counts as abnormal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.causes import Finding, finding
from lambdatrace.analysis.causes.base import ITSELF
from lambdatrace.analysis.failures import last_failure
from lambdatrace.analysis.parts import LOOKED_LATE
from lambdatrace.analysis.usual import LOOKED_AT, Usual, unknown_parts
from lambdatrace.analysis.words import counted, duration_words, percent
from lambdatrace.model import Part, Reference, Status, Trace, Verdict
from lambdatrace.values import replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.analysis.usual import Recent
    from lambdatrace.model import Execution, Process

# What `show` calls its rows, before their numbers.
ROWS = {
    "connection": "c",
    "namelookup": "n",
    "exchange": "e",
    "blocked": "b",
    "pause": "p",
    "process": "x",
}

# Where nothing is known of what is usual, a part is abnormal from this share of the duration and
# this length on.
_LARGE = 0.4
_LONG_NS = 100_000_000
# Where it is known, a part is that exceeds it by this share of the duration, by this length, and by
# half.
_EXCESS = 0.25
_EXCESS_NS = 20_000_000
_TIMES = 1.5
# Below this share of its part, a destination is not what the part was about.
_MOST = 0.8

_DOING = {
    Part.DNS: "looking up",
    Part.CONNECT: "connecting to",
    Part.TLS: "the TLS handshake with",
    Part.WAIT: "waiting for",
    Part.TRANSFER: "transferring data with",
    Part.FILE: "waiting for",
    Part.LOCK: "waiting for the lock",
    Part.OTHER: "waiting on",
}
_DOING_NOTHING_NAMED = {
    Part.DNS: "looking names up",
    Part.CONNECT: "connecting",
    Part.TLS: "TLS handshakes",
    Part.WAIT: "waiting for answers",
    Part.TRANSFER: "transferring data",
    Part.FILE: "waiting for files",
    Part.SLEEP: "sleeping",
    Part.LOCK: "waiting for a lock",
    Part.CPU: "its own computing",
    Part.RUNQUEUE: "waiting for a CPU",
    Part.STEAL: "CPU time that was stolen",
    Part.OTHER: "what is not told apart",
}


def judge(trace: Trace, usual: Usual | None = None) -> Verdict:
    """The verdict on an execution, compared with its function's usual figures."""
    usual = usual or Usual()
    execution = trace.execution
    ended = _ended_badly(trace)
    if ended is not None:
        return ended
    if execution.status is Status.ERROR:
        failure = last_failure(trace)
        if failure is not None:
            return _failed(failure, execution)
    if execution.partition is None:
        return _unknown(execution)
    if execution.status in (Status.TIMEOUT, Status.UNFINISHED):
        return _verdict(finding(_largest(execution), trace), trace, usual)
    part = _abnormal(execution, usual)
    if part is None:
        return _nothing(trace, usual)
    return _verdict(finding(part, trace), trace, usual)


def judge_summary(execution: Execution, usual: Usual | None = None) -> Verdict:
    """The verdict as far as a summary alone carries it: causes are parts, and nothing finer."""
    return judge(Trace(execution, (), (), (), (), (), (), ()), usual)


def judge_summaries(executions: Iterable[Execution], recent: Recent) -> list[Verdict]:
    """The verdict on each, compared with what is usual for its function."""
    usual: dict[tuple[str, tuple[Part, ...]], Usual] = {}
    verdicts = []
    for one in executions:
        alike = one.function, unknown_parts(one)
        if alike not in usual:
            usual[alike] = recent.usual(one)
        verdicts.append(judge_summary(one, usual[alike]))
    return verdicts


def renumbered(verdict: Verdict, left: Mapping[str, Sequence[int]]) -> Verdict:
    """The verdict where, of each kind in `left`, only the rows with those numbers are shown.

    Rows are named by their places among these; what is not shown is not named.
    """
    places = {kind: {n: place for place, n in enumerate(each, 1)} for kind, each in left.items()}
    evidence = []
    for each in verdict.evidence:
        number = places[each.kind].get(each.number) if each.kind in places else each.number
        if number is not None:
            evidence.append(Reference(each.kind, number))
    before, after = (f" {_rows(rows)}".rstrip() for rows in (verdict.evidence, tuple(evidence)))
    head, found, tail = verdict.text.rpartition(before or "\n")  # a name may look like rows
    text = f"{head}{after}{tail}" if found else verdict.text
    return replaced(verdict, text=text, evidence=tuple(evidence))


def _ended_badly(trace: Trace) -> Verdict | None:
    """The verdict on an execution that was killed or crashed; None: it was not."""
    execution = trace.execution
    killed = [(n, each) for n, each in enumerate(trace.processes, 1) if each.ending.out_of_memory]
    own = execution.ending
    if killed or (own is not None and own.out_of_memory):
        evidence = tuple(Reference("process", n) for n, _ in killed) or ITSELF
        limit = f", which had {execution.memory_mb} MB" if execution.memory_mb is not None else ""
        text = f"Out of memory: the kernel killed {_killed([each for _, each in killed])}{limit}"
        return _of_ending("other.out_of_memory", text, evidence)
    if execution.status is not Status.CRASH:
        return None
    text = "Crashed: the runtime ended without an answer"
    if own is not None:
        how = own.signal or f"exit code {own.exit_code}"
        text = f"Crashed: its process ended with {how}"
    rows = [
        Reference("process", n)
        for n, each in enumerate(trace.processes, 1)
        if not each.parent_id and each.ending == own
    ]
    return _of_ending("other.crash", text, tuple(rows) or ITSELF)


def _killed(processes: list[Process]) -> str:
    return processes[0].name if processes else "its process"


def _of_ending(cause: str, text: str, evidence: tuple[Reference, ...]) -> Verdict:
    sentence = f"{text} {_rows(evidence)}".strip() + "."
    return Verdict(cause, None, 0.0, sentence, evidence, None, 0)


def _failed(failure: Finding, execution: Execution) -> Verdict:
    """The verdict on an execution that failed, by what failed in it last."""
    share = _share(failure.ns, execution.duration_ns)
    text = f"Failed after {_doing(failure)}: {failure.words} {_rows(failure.evidence)}."
    return Verdict(failure.cause, failure.destination, share, text, failure.evidence, None, 0)


def _unknown(execution: Execution) -> Verdict:
    why = "its edges are not exact, or its agent was an older one"
    if "cpu" in execution.unavailable:
        why = f"group cpu is unavailable, {execution.unavailable['cpu']}"
    elif "cpu" not in execution.capture:
        why = "group cpu was not recorded"
    elif execution.edges == "looks":
        why = LOOKED_LATE
    text = _sentence(execution, f"where the time went is not known: {why}.")
    return Verdict(None, None, 0.0, text, (), None, 0)


def _largest(execution: Execution) -> Part:
    partition = execution.partition
    assert partition is not None  # noqa: S101  # judge() has looked
    known = {part: ns for part in Part if (ns := partition.of(part)) is not None}
    return max(known, key=lambda part: known[part])


def _abnormal(execution: Execution, usual: Usual) -> Part | None:
    """The part that is larger than it should be, the one most so; None: none is."""
    partition = execution.partition
    assert partition is not None  # noqa: S101  # judge() has looked
    least = max(_LARGE * execution.duration_ns, _LONG_NS)
    largest = _largest(execution)
    excesses = {}
    for part in Part:
        ns, median = partition.of(part) or 0, usual.part_ns(part)
        if median is None:
            # What is usual is not known of this one, whatever is of the others.
            if part is largest and ns >= least:
                excesses[part] = ns
        elif ns >= _TIMES * median:
            excesses[part] = ns - median
    part = max(excesses, key=lambda each: excesses[each], default=Part.OTHER)
    enough = max(_EXCESS * execution.duration_ns, _EXCESS_NS)
    return part if excesses.get(part, 0) >= enough else None


def _verdict(found: Finding, trace: Trace, usual: Usual) -> Verdict:
    execution = trace.execution
    share = _share(found.ns, execution.duration_ns)
    of_all = (
        f"{percent(found.ns, execution.duration_ns)} of {duration_words(execution.duration_ns)}"
    )
    text = f"{of_all} went into {_doing(found)}"
    whole = execution.partition.of(found.part) if execution.partition is not None else None
    if found.destination is not None and whole and found.ns < _MOST * whole:
        whole_words = percent(whole, execution.duration_ns)
        text += f", of {whole_words} into {_DOING_NOTHING_NAMED[found.part]} in all"
    if found.words:
        text += f": {found.words}"
    rows = _rows(found.evidence)
    text += f" {rows}" * bool(rows) + f"; {_comparison(found.part, usual)}."
    return Verdict(
        found.cause, found.destination, share, _sentence(execution, text), found.evidence,
        usual.part_ns(found.part), usual.compared(found.part),
    )  # fmt: skip


def _nothing(trace: Trace, usual: Usual) -> Verdict:
    execution = trace.execution
    found = finding(_largest(execution), trace)
    took = duration_words(execution.duration_ns)
    text = (
        f"nothing stands out: the largest part of {took}, {_doing(found)}, is "
        f"{duration_words(found.ns)}; {_comparison(found.part, usual)}."
    )
    if execution.status is Status.ERROR:
        text += " What it raised by itself stands in its log."
    share = _share(found.ns, execution.duration_ns)
    median = usual.part_ns(found.part)
    text = _sentence(execution, text)
    compared = usual.compared(found.part)
    return Verdict(None, None, share, text, found.evidence, median, compared)


def _sentence(execution: Execution, text: str) -> str:
    """`text`, behind how the execution ended if it did not end well."""
    lead = {
        Status.TIMEOUT: "Timed out: ",
        Status.UNFINISHED: "Not seen to end: ",
        Status.ERROR: "Failed; ",
    }.get(execution.status)
    return text[0].upper() + text[1:] if lead is None else lead + text


def _doing(found: Finding) -> str:
    doing = _DOING.get(found.part)
    if doing is None or found.destination is None:
        return _DOING_NOTHING_NAMED[found.part]
    return f"{doing} {found.destination}"


def _comparison(part: Part, usual: Usual) -> str:
    median, compared = usual.part_ns(part), usual.compared(part)
    if median is not None:
        return f"usually {duration_words(median)}, the median of {compared} executions"
    if not usual.executions:
        among = f"among the {LOOKED_AT} that were looked at " if usual.is_cut else ""
        return f"{among}there is no other execution to compare with"
    if not compared:
        others = counted(usual.executions, "other execution")
        verb = "does" if usual.executions == 1 else "do"
        return f"{others} {verb} not tell what is usual, for there that could not be seen"
    few = counted(compared, "other execution")
    return f"{few} {'is' if compared == 1 else 'are'} too few to say what is usual"


def _rows(evidence: tuple[Reference, ...]) -> str:
    """The rows a sentence rests on, as `show` names them, in parentheses: `(c2, c3, e1)`."""
    names = [f"{ROWS[each.kind]}{each.number}" for each in evidence if each.kind in ROWS]
    return f"({', '.join(names)})" if names else ""


def _share(ns: int, duration_ns: int) -> float:
    return round(min(1.0, max(0.0, ns / duration_ns)), 4) if duration_ns > 0 else 0.0
