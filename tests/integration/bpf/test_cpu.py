"""CPU time and time in a run queue: what the probe counts is what the kernel's own books say."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
import support_probe as kernel
from support import in_a_calm_moment, require

from lambdatrace import wire
from lambdatrace.agent.machine import Machine
from lambdatrace.bpf import plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MS = 1_000_000
# A scheduler may come between any two looks at a clock.
SLACK_NS = 5 * MS


class Ran(NamedTuple):
    """A command that ended: its figures by the probe, and by the kernel's own accounting (ns)."""

    figures: wire.EdgeRecord
    cpu: int  # of it and all it waited for, as wait4 tells it: without what the host stole
    stolen: int  # meanwhile, of all CPUs
    took: int
    output: str

    def check_cpu(self) -> None:
        """What is counted is what the kernel counts, and at most what was stolen besides."""
        assert self.figures.cpu >= self.cpu - _slack(self.cpu)
        assert self.figures.cpu <= self.cpu + self.stolen + _slack(self.cpu)


def run(command: Sequence[str | Path]) -> Ran:
    with kernel.watching() as watch:
        machine, began = Machine(), time.monotonic_ns()
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, env=kernel.environment(), text=True
        )
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic_ns() - began
        stolen, _, _ = machine.since()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        assert process.returncode == 0
        [figures] = [edge for edge in watch.ends() if not edge.parent]
    assert figures.tgid == process.pid
    cpu = round((usage.ru_utime + usage.ru_stime) * 1e9)
    return Ran(figures, cpu, stolen or 0, took, output)


def about(expected: int) -> object:
    return pytest.approx(expected, rel=0.1, abs=SLACK_NS)


def _slack(expected: int) -> int:
    return max(expected // 10, SLACK_NS)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kernel.compiled("busy.c", tmp_path_factory.mktemp("busy"))


@in_a_calm_moment
def test_a_busy_thread_is_on_a_cpu_for_as_long_as_the_kernel_says(busy: Path) -> None:
    ran = run([busy, "1", "300", "-1", "0"])
    assert ran.cpu >= 290 * MS
    ran.check_cpu()
    # The main thread only waits for it: never two at once.
    assert ran.figures.cpu_wall == about(ran.figures.cpu)
    assert ran.figures.cpu_wall + ran.figures.runqueue_wall <= ran.took


@in_a_calm_moment
def test_who_sleeps_uses_no_cpu(busy: Path) -> None:
    ran = run([busy, "4", "0", "-1", "400"])
    assert ran.took >= 400 * MS
    ran.check_cpu()
    assert ran.figures.cpu < 100 * MS
    assert ran.figures.runqueue < 4 * 400 * MS / 4  # four threads slept all that time


@in_a_calm_moment
def test_threads_on_several_cpus_are_summed_and_their_wall_time_is_not(busy: Path) -> None:
    require((os.cpu_count() or 1) > 1, "there is one CPU only")
    ran = run([busy, "2", "200", "-1", "0"])
    ran.check_cpu()
    assert ran.figures.cpu_wall <= ran.figures.cpu + SLACK_NS
    assert ran.figures.cpu_wall >= ran.figures.cpu // 2 - SLACK_NS
    assert ran.figures.cpu_wall <= ran.took


@in_a_calm_moment
def test_two_busy_threads_on_one_cpu_wait_for_each_other(busy: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    ran = run([busy, "2", "200", str(cpu), "0"])
    on_cpu, in_queue, _ = map(int, ran.output.split())
    require(in_queue, "this kernel does not keep schedstat")
    assert in_queue > 100 * MS  # each of them waited while the other one ran
    ran.check_cpu()
    assert on_cpu == about(ran.cpu)
    assert ran.figures.runqueue == about(in_queue)
    # While one of the two waits the other one runs, unless a stranger does.
    assert ran.figures.cpu_wall == about(ran.figures.cpu)
    assert ran.figures.runqueue_wall <= ran.figures.runqueue - ran.figures.cpu // 3


@in_a_calm_moment
def test_a_kernel_that_does_not_tell_why_a_thread_leaves(
    monkeypatch: pytest.MonkeyPatch, busy: Path
) -> None:
    """The program for kernels before 5.18, which runs on this one as well."""
    entries = tuple(
        plan.Attachment(
            each.group,
            plan.FALLBACKS.get(each.program, each.program),
            each.category,
            each.event,
            each.fields,
            each.raw,
        )
        for each in plan.PLAN
    )
    monkeypatch.setattr(plan, "PLAN", entries)
    # Three that share two CPUs or one, and each of them sleeps.
    script = " & ".join([f"{busy} 1 100 0 50"] * 3) + " & wait"
    ran = run(["sh", "-c", script])
    assert ran.cpu >= 300 * MS
    ran.check_cpu()
    # All on one CPU: as long as three have something to do two wait, then one.
    assert ran.figures.runqueue >= 200 * MS


@in_a_calm_moment
def test_a_branch_is_all_its_processes(busy: Path) -> None:
    script = f"{busy} 1 100 -1 0; {busy} 1 50 -1 0 & {busy} 1 50 -1 0; wait"
    ran = run(["sh", "-c", script])
    assert ran.cpu >= 190 * MS
    # Fork, exec and exit of six processes are in it.
    ran.check_cpu()


@in_a_calm_moment
def test_figures_of_a_branch_that_still_runs(busy: Path) -> None:
    differences = []
    machine = Machine()
    with kernel.watching() as watch:
        assert watch.probe.figures(1, time.monotonic_ns()) is None
        for _ in range(5):
            before = watch.branches()
            process = subprocess.Popen([busy, "2", "150", "-1", "0"], stdout=subprocess.DEVNULL)
            try:
                time.sleep(0.1)
                # The CPU clock of another process, clock_getcpuclockid(3).
                spent = time.clock_gettime_ns((~process.pid << 3) | 2)
                [branch] = watch.branches() - before
                figures = watch.probe.figures(branch, time.monotonic_ns())
            finally:
                process.wait()
            assert process.returncode == 0
            assert figures is not None
            assert (figures.branch, figures.kind) == (branch, wire.KIND_EDGE)
            # Between the two looks anything may have the CPU.
            differences.append(abs(figures.cpu - spent) - spent // 10)
    # If half of them were further off than that, for the host's sake, it had stolen more.
    stolen, _, _ = machine.since()
    assert statistics.median(differences) < SLACK_NS + (stolen or 0) // 3


@in_a_calm_moment
def test_two_branches_have_figures_of_their_own(busy: Path) -> None:
    with kernel.watching() as watch:
        works = subprocess.Popen([busy, "1", "200", "-1", "0"], stdout=subprocess.DEVNULL)
        sleeps = subprocess.Popen([busy, "1", "0", "-1", "100"], stdout=subprocess.DEVNULL)
        assert [works.wait(), sleeps.wait()] == [0, 0]
        ends = watch.ends()
    figures = {edge.tgid: edge.cpu for edge in ends}
    assert set(figures) == {works.pid, sleeps.pid}
    assert len({edge.branch for edge in ends}) == 2
    assert figures[works.pid] >= 195 * MS
    assert figures[sleeps.pid] < 100 * MS
