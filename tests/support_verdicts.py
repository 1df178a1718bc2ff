"""The fault world: causes of slowness, each invoked for real, and what its verdict says.

The function (integration/verdicts/app.py) runs under AWS's emulator by `lambdatrace invoke`, in the
near network of support_world. What makes it slow is real as well: name servers, a firewall, a
narrow link, cgroups, neighbours. Each case is a function of its own, with usual figures of its own.

`python tests/support_verdicts.py [--preload | --proc] [NAME…]` tries them and prints what each was
taken for by eBPF, or by another backend in a function without any privilege.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import support_agent
import support_looks
import support_probe
from rich.console import Console
from rich.table import Table
from support_cgroup import Limits, cpu_quota, slow_disk
from support_confined import confined_rie
from support_world import (
    GREETS,
    LATE_TLS,
    NARROW,
    PORTS,
    REFUSED_FROM,
    SILENT_FROM,
    SLOW,
    World,
    world,
)

from lambdatrace.analysis.parts import LOOKED_LATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # What the function finds in its environment, and what is added to its event.
    Surroundings = tuple[dict[str, str], dict[str, Any]]
    Around = Callable[[World], contextlib.AbstractContextManager[Surroundings]]

FUNCTION = Path(__file__).parent / "integration" / "verdicts"
HTTP = PORTS["http"]
HOST = "api.fast.test"
API = f"{HOST}:{HTTP}"
QUICK, LATE, NEVER = "/0/100/0", "/600/100/0", "/5000/100/0"
# What searching the domains of a Kubernetes-like resolv.conf is like: NXDOMAIN after 150 ms each.
SEARCHED = [f"late150-nxdomain-{each}.late.test" for each in ("svc", "cluster", "local")]
HOGS = 4
# What is said of a connection by looking: its port, what it had or had not done, for how long.
_ACCUSED = re.compile(
    r":([0-9]+) had (not taken the connection for|been sent something and had not answered for)"
    r" ([0-9.,]+) (ms|s)\b"
)
_UNITS_MS = {"ms": 1, "s": 1_000}
# This machine may be busy with something else, which then is a neighbour of every function and
# part of every wait. What is wrong for any other reason is wrong again.
ATTEMPTS = 3


@dataclass(frozen=True)
class Case:
    """A cause, and what its verdict has to say. A cause of None: nothing must stand out."""

    name: str
    event: dict[str, Any]
    cause: str | None
    destination: str | None = None
    around: Around | None = None
    repeat: int = 1
    timeout_s: int = 10
    environ: dict[str, str] = field(default_factory=dict)
    status: str = "ok"
    preloaded: str | None = None  # the cause, where the preloaded library sees less of it
    # It fails so soon that, but for the failure, nothing stands out.
    brief: bool = False
    as_root: bool = False  # its surroundings need what a confined function does not have

    def expected(self, backend: str) -> str | None:
        """What its verdict has to name."""
        if backend == "preload":
            return self.preloaded or self.cause
        if backend == "proc" and self.cause is not None:
            part = self.cause.partition(".")[0]
            unseen = None if self.brief else "other"
            return {"cpu": self.cause, "runqueue": part}.get(part, unseen)
        return self.cause


@dataclass(frozen=True)
class Told:
    """What the product said of one case."""

    case: Case
    document: dict[str, Any]
    backend: str = "ebpf"

    @property
    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["verdict"]
        return found

    @property
    def came_late(self) -> bool:
        """Whether the agent that looks was held up so long that it says it knows nothing."""
        is_unknown = self.document["execution"]["partition"] is None
        return is_unknown and LOOKED_LATE in self.verdict["text"]

    def mistakes(self) -> list[str]:
        """In what it is not as it has to be."""
        found = {**self.verdict, "status": self.document["execution"]["status"]}
        if found["destination"] is not None:
            found["destination"] = found["destination"].rpartition("/")[2]  # of a file, its name
        found["backend"] = self.document["execution"]["backend"]
        cause = self.case.expected(self.backend)
        expected = {"cause": cause, "status": self.case.status, "backend": self.backend}
        if self.case.cause is not None:
            expected["destination"] = self.case.destination
        looked = self.backend == "proc"
        if looked:
            expected["destination"] = None
            if self.came_late:
                expected["cause"] = None
            # That it failed is not among what it sees.
            expected["status"] = "ok" if self.case.status == "error" else self.case.status
        return [
            *(
                f"{name} is {found[name]!r} instead of {value!r}"
                for name, value in expected.items()
                if found[name] != value
            ),
            *(self._untrue() if looked else ()),
        ]

    def _untrue(self) -> Iterator[str]:
        """What is told by looking, and is not so."""
        yield from support_looks.of_document(self.document)
        case, text = self.case, self.verdict["text"]
        ports = {port for _, port, *_ in case.event.get("requests", ())}
        for connection in self.document["connections"]:
            if connection["port"] not in ports:
                yield f"it has a connection to port {connection['port']}"
        execution = self.document["execution"]
        unseen = case.expected("proc") == "other" and not self.came_late
        if unseen and "proc cannot see" not in text:
            yield "it does not say that it cannot see what is waited for"
        accused = _ACCUSED.findall(text)
        if accused and case.cause is None:
            yield "it tells of a connection that did nothing wrong"
        for port, how, length, unit in accused:
            connects = (case.cause or "").startswith("connect.")
            if int(port) not in ports or connects != how.startswith("not taken"):
                yield f"port {port} had {how} {length} {unit}"
            if float(length) * _UNITS_MS[unit] > 1.01 * execution["duration_ms"]:
                yield f"{length} {unit} are more than it took"


@contextlib.contextmanager
def nothing(made: World) -> Iterator[Surroundings]:
    """No surroundings but the world."""
    yield {}, {}


@contextlib.contextmanager
def hogs(made: World) -> Iterator[Surroundings]:
    """Others that compute without end on the one CPU that the function may use."""
    cpu = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "--cpu-list", cpu, sys.executable, "-c", "while True: pass"]
    # Each in a session of its own: the scheduler shares a CPU out among sessions (autogroup).
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(HOGS)]
    try:
        yield {"VERDICTS_CPU": cpu}, {}
    finally:
        for process in processes:
            process.kill()
            process.wait()


def limited(limits: Callable[[World], Limits]) -> Around:
    """The runtime lives in a cgroup."""

    @contextlib.contextmanager
    def around(made: World) -> Iterator[Surroundings]:
        with limits(made) as group:
            yield {"VERDICTS_CGROUP": str(group.path)}, {"file": str(made.folder / "written")}

    return around


_HOLDER = """
import fcntl, os, sys, time
file, asked = sys.argv[1:]
with open(file, "w") as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    print("held", flush=True)
    while not os.path.exists(asked):
        time.sleep(0.005)
    time.sleep(0.6)
"""


@contextlib.contextmanager
def lock_holder(made: World) -> Iterator[Surroundings]:
    """Somebody else holds a lock, until 600 ms after the function has said that it wants it."""
    with tempfile.TemporaryDirectory(dir=made.folder) as folder:
        file, asked = f"{folder}/lock", f"{folder}/asked"
        command = [sys.executable, "-c", _HOLDER, file, asked]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == b"held\n"
            Path(folder).chmod(0o777)  # the function may be anybody's
            Path(file).chmod(0o666)
            try:
                yield {}, {"file": file, "asked": asked}
            finally:
                holder.kill()


@contextlib.contextmanager
def authority(made: World) -> Iterator[Surroundings]:
    """The function trusts whoever signed the far side's certificate."""
    yield {}, {"authority": f"{made.certificate}.crt"}


def one(host: str, port: int, path: str = QUICK, **more: Any) -> dict[str, Any]:
    """An event that asks for one request."""
    return {"do": "request", "requests": [(host, port, path)], **more}


def cases() -> list[Case]:
    """All of them."""
    refused, silent = REFUSED_FROM + 1, SILENT_FROM + 1
    secure, late_tls = PORTS["https_1.3"], PORTS[LATE_TLS]
    late_name, lost_name = "late600.late.test", "lost-1.fast.test"
    return [
        Case("slow-dns", one(late_name, HTTP), "dns.slow", late_name),
        Case(
            "unanswered-dns",
            {**one(lost_name, HTTP), "do": "ipv4_only"},
            "dns.unanswered",
            lost_name,
            preloaded="dns.slow",  # what libc's resolver asks of whom is not seen
        ),
        Case(
            "nxdomain-searched",
            one(HOST, HTTP),
            "dns.nxdomain",
            HOST,
            environ={"LOCALDOMAIN": " ".join(SEARCHED), "RES_OPTIONS": "ndots:5"},
            preloaded="dns.slow",
        ),
        Case(
            "no-such-name",
            one("nobody.fast.nowhere.test", HTTP),
            "dns.nxdomain",
            "nobody.fast.nowhere.test",
            status="error",
            brief=True,
        ),
        Case(
            "refused",
            one(HOST, refused),
            "connect.refused",
            f"{HOST}:{refused}",
            status="error",
            brief=True,
        ),
        Case(
            "syn-dropped",
            {**one(HOST, PORTS["loses_syns"]), "do": "ipv4_only"},
            "connect.syn",
            f"{HOST}:{PORTS['loses_syns']}",
        ),
        Case(
            "connect-timeout",
            one(HOST, silent, timeout=0.6),
            "connect.timeout",
            f"{HOST}:{silent}",
            status="error",
        ),
        Case(
            "slow-tls",
            {**one(HOST, late_tls), "do": "secure"},
            "tls.slow",
            f"{HOST}:{late_tls}",
            authority,
        ),
        Case(
            "certificate",
            {**one(HOST, secure), "do": "secure"},
            "tls.certificate",
            f"{HOST}:{secure}",
            status="error",
            brief=True,
        ),
        Case("slow-first-byte", one(HOST, HTTP, LATE), "wait.slow", API),
        Case(
            "slow-greeting",
            {"do": "greeting", "requests": [(HOST, PORTS[GREETS], QUICK)]},
            "wait",
            f"{HOST}:{PORTS[GREETS]}",
        ),
        Case(
            "slow-transfer",
            one(NARROW, HTTP, "/0/3000000/0"),
            "transfer.slow",
            f"{NARROW}:{HTTP}",
        ),
        Case(
            "packet-loss",
            {"do": "conversation", "requests": [(HOST, PORTS["loses_first"], QUICK)] * 3},
            "wait.loss",
            f"{HOST}:{PORTS['loses_first']}",
        ),
        Case(
            "cpu-hog",
            {"do": "compute", "seconds": 0.12},
            "runqueue.neighbour",
            around=hogs,
            preloaded="runqueue",  # only how long it was in all is known
        ),
        Case(
            "cpu-quota",
            {"do": "compute", "seconds": 0.16},
            "runqueue.throttled",
            around=limited(lambda made: cpu_quota(0.2)),
            preloaded="runqueue",
            as_root=True,
        ),
        Case(
            "own-cpu",
            {"do": "compute", "seconds": 0.6},
            "cpu.own",
            environ={"VERDICTS_FIRST": "1"},  # or whatever else this machine runs is a neighbour
            as_root=True,
        ),
        Case(
            "own-competition",
            {"do": "compete", "seconds": 0.4},
            "cpu.own",
            environ={"VERDICTS_FIRST": "1"},  # before others, and in turns with its own
            as_root=True,
        ),
        Case("sleep", {"do": "sleep", "seconds": 0.6}, "sleep.clock_nanosleep"),
        Case("lock", {"do": "lock"}, "lock.flock", "lock", lock_holder),
        Case(
            "fsync",
            {"do": "write", "bytes": 500_000},
            "file.fsync",
            "written",
            limited(lambda made: slow_disk(made.folder, 1_000_000)),
            as_root=True,
        ),
        Case(
            "stale",
            {**one(HOST, HTTP, "/0/100/0/50"), "do": "kept_alive", "idle": 0.2},
            "wait.stale",
            API,
            repeat=2,
            status="error",
            brief=True,
        ),
        Case(
            "hangs", one(HOST, HTTP, NEVER), "wait.hung", API, timeout_s=1, status="timeout"
        ),
        Case(
            "slower-than-usual",
            {"do": "after_a_while", "requests": [(HOST, HTTP, QUICK, "/300/100/0")], "quick": 12},
            "wait.slow",
            API,
            repeat=13,
        ),
        Case("healthy-request", one(HOST, HTTP, "/5/2000/0"), None),
        Case("healthy-computation", {"do": "compute", "seconds": 0.005}, None),
        Case(
            "healthy-destinations",
            {"do": "request", "requests": [(HOST, HTTP, "/5/2000/0"), (SLOW, HTTP, "/5/100/0")]},
            None,
        ),
        Case("healthy-as-usual", one(HOST, HTTP, "/130/100/0"), None, repeat=13),
    ]  # fmt: skip


def confined(made: World, case: Case, backend: str) -> tuple[list[str | Path], dict[str, str]]:
    """Options and environment with which a case is traced by another backend than eBPF.

    The function is confined as far as its case allows.
    """
    told = {"LAMBDATRACE_BACKEND": backend}
    # With a CPU's worth of memory it is looked at most often, so that the most can be told wrongly.
    options: list[str | Path] = ["--memory", "1769"] if backend == "proc" else []
    if case.as_root:
        return options, told
    # With its wrapper it finds the library for itself.
    start = confined_rie(made.folder)
    return [*options, "--rie", start], {} if backend == "preload" else told


def invoked(made: World, case: Case, backend: str = "ebpf") -> Told:
    """Invoke one case for real, and show what was stored of it."""
    options, told = confined(made, case, backend) if backend != "ebpf" else ([], {})
    store = f"sqlite://{made.folder}/{case.name}-{os.urandom(3).hex()}.db"
    with (case.around or nothing)(made) as (environ, more):
        event = {"repeat": case.repeat, **case.event, **more}
        ran = subprocess.run(
            made.command(
                *support_probe.CLI, "invoke", "app.handler", "--folder", FUNCTION,
                "--name", case.name, "--event", json.dumps(event), "--store", store,
                "--repeat", str(case.repeat), "--timeout", str(case.timeout_s), "--output", "json",
                *options,
            ),
            env=support_probe.environment(
                PYTHONDONTWRITEBYTECODE="1", **case.environ, **environ, **told
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
    assert ran.stdout, ran.stderr
    shown = support_probe.lambdatrace("show", "@latest", "--store", store, "--output", "json")
    assert shown.returncode == 0, shown.stderr
    return Told(case, json.loads(shown.stdout), backend)


def judged(made: World, case: Case, backend: str = "ebpf") -> Told:
    """The same, up to ATTEMPTS times where it is not as it has to be."""
    for _ in range(ATTEMPTS - 1):
        told = invoked(made, case, backend)
        if not told.mistakes() and not told.came_late:
            return told
    return invoked(made, case, backend)


@contextlib.contextmanager
def fault_world(folder: Path) -> Iterator[World]:
    """The world, where everything that a case needs is there."""
    support_agent.require_agent()
    with world(folder) as made:
        yield made


@contextlib.contextmanager
def open_fault_world() -> Iterator[World]:
    """The same in a folder that a function without any privilege may use as well."""
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        with fault_world(folder) as made:
            yield made


def main(names: list[str]) -> int:
    """Print the table; how many are wrong is the exit code."""
    columns = ("case", "took", "expected", "named", "destination", "share", "verdict", "")
    table = Table(*columns, show_lines=False)
    wrong = 0
    asked = [name[2:] for name in names if name in ("--preload", "--proc")]
    backend = asked[-1] if asked else "ebpf"
    names = [name for name in names if not name.startswith("--")]
    with open_fault_world() as made:
        for case in cases():
            if names and case.name not in names:
                continue
            told = judged(made, case, backend)
            verdict, mistakes = told.verdict, told.mistakes()
            wrong += bool(mistakes)
            print(f"{case.name}: {'; '.join(mistakes) or 'right'}", file=sys.stderr, flush=True)
            table.add_row(
                case.name,
                f"{told.document['execution']['duration_ms']:.0f} ms",
                str(case.expected(backend)),
                str(verdict["cause"]),
                verdict["destination"],
                f"{100 * verdict['share']:.0f} %",
                verdict["text"],
                "WRONG" if mistakes else "right",
            )
    # Wide enough for whole names: a file keeps it as it is.
    Console(width=max(200, Console().width), markup=False).print(table)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
