"""What the kernel refuses is said in words, with what to do; nothing stays half loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import support_probe as kernel
from support import require
from support_servers import Servers

from lambdatrace.bpf import plan
from lambdatrace.bpf.loader import Probe
from lambdatrace.errors import ProbeError

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_PYTHON = "/usr/bin/python3"
NO_CAPABILITIES = ("--bounding-set", "-all", "--inh-caps", "-all")
ONLY_BPF = ("--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all")
NOBODY = ("--reuid", "65534", "--clear-groups", *NO_CAPABILITIES)
HIDE_TRACEFS = (
    "umount -lR /sys/kernel/debug 2>/dev/null; umount -lR /sys/kernel/tracing 2>/dev/null; "
)


def load(*prefix: str, python: str = sys.executable, folder: Path | None = None) -> dict[str, Any]:
    """Load the probe in a process of its own, which is quiet whatever happens."""
    require(shutil.which(prefix[0]), f"{prefix[0]} is not installed")
    if folder is None:
        ran = kernel.run([*prefix, python, kernel.PROGRAMS / "load.py"])
    else:
        program = folder / "programs" / "load.py"
        ran = kernel.run([*prefix, python, program], PYTHONPATH=str(folder))
    assert ran.stderr == ""
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def hiding_tracefs(then: Sequence[str] = (), more: str = "") -> tuple[str, ...]:
    return ("unshare", "-m", "sh", "-c", HIDE_TRACEFS + more + 'exec "$@"', "sh", *then)


@pytest.mark.parametrize("who", [NO_CAPABILITIES, NOBODY], ids=["root-without-powers", "nobody"])
def test_without_privileges_the_error_says_which(who: tuple[str, ...]) -> None:
    require(Path(SYSTEM_PYTHON).exists(), f"there is no {SYSTEM_PYTHON}")
    with kernel.copy_for_everyone() as folder:
        answer = load("setpriv", *who, python=SYSTEM_PYTHON, folder=folder)
    assert answer["type"] == "ProbeError"
    assert "the kernel refused eBPF (EPERM" in answer["error"]
    assert "run as root, or with CAP_BPF and CAP_PERFMON" in answer["hint"]
    assert answer["descriptors"] == 4  # the standard streams and the listing: none left over


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_the_capabilities_the_error_names_are_enough() -> None:
    answer = load("setpriv", *ONLY_BPF)
    assert "error" not in answer
    assert answer["unavailable"] == {}


def test_run_without_privileges_runs_nothing_and_exits_with_1(tmp_path: Path) -> None:
    require(shutil.which("setpriv"), "setpriv is not installed")
    store = f"sqlite://{tmp_path / 'store.db'}"
    command = ["run", "--store", store, "--", "touch", str(tmp_path / "ran")]
    ran = subprocess.run(
        ["setpriv", *NO_CAPABILITIES, *kernel.CLI, *command],
        capture_output=True,
        text=True,
        env=kernel.environment(),
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: the kernel refused eBPF (EPERM")
    assert hint.startswith("hint: run as root")
    assert not (tmp_path / "ran").exists()


def test_tracefs_is_mounted_where_it_is_not() -> None:
    answer = load(*hiding_tracefs())
    assert "error" not in answer
    assert answer["unavailable"] == {}


def test_tracefs_that_cannot_be_mounted_is_said_with_the_command_that_mounts_it() -> None:
    require(shutil.which("setpriv"), "setpriv is not installed")
    answer = load(*hiding_tracefs(["setpriv", *ONLY_BPF]))
    assert answer["type"] == "ProbeError"
    assert answer["error"] == "tracefs is not mounted (Operation not permitted)"
    assert answer["hint"] == "as root: mount -t tracefs tracefs /sys/kernel/tracing"


def test_a_kernel_without_a_place_for_tracefs() -> None:
    answer = load(*hiding_tracefs(more="mount -t tmpfs none /sys/kernel; "))
    assert answer["error"] == "tracefs is not mounted (No such file or directory)"


def test_another_machine_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.uname()
    other = os.uname_result((*here[:4], "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: other)
    before = open_descriptors()
    with pytest.raises(ProbeError, match="does not know the syscalls of riscv64") as caught:
        Probe.load()
    assert caught.value.hint == "lambdatrace runs on x86_64 and aarch64"
    assert open_descriptors() == before


def test_a_moved_field_is_an_error_where_the_probe_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As if this probe had been written for a kernel with other offsets."""
    moved = tuple(
        plan.Attachment(
            each.group,
            each.program,
            each.category,
            each.event,
            tuple((name, offset + 8, size) for name, offset, size in each.fields),
            each.raw,
        )
        for each in plan.PLAN
    )
    monkeypatch.setattr(plan, "PLAN", moved)
    before = open_descriptors()
    with pytest.raises(ProbeError) as caught:
        Probe.load(root=os.getpid())
    what = "inet_sock_set_state.skaddr is not where the probe looks for it"
    assert caught.value.message == f"the kernel lacks what the probe needs: {what}"
    assert "Linux 5.10" in caught.value.hint
    assert open_descriptors() == before
    assert capfd.readouterr() == ("", "")


def test_a_missing_tracepoint_switches_its_feature_off_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    spoiled = tuple(
        plan.Attachment(each.group, each.program, each.category, "not_in_this_kernel", raw=True)
        if each.group == "resets"
        else each
        for each in plan.PLAN
    )
    monkeypatch.setattr(plan, "PLAN", spoiled)
    with Servers() as servers, kernel.watching() as watch:
        port = servers.sink()
        assert list(watch.probe.unavailable) == ["resets"]
        assert "not_in_this_kernel" in watch.probe.unavailable["resets"]
        kernel.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"])
        assert watch.ports() == [port]
    assert capfd.readouterr() == ("", "")
