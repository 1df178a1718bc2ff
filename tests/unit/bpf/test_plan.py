"""The plan: format files of several kernels, what does not fit, and numbers that agree."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from support import require

from lambdatrace import wire
from lambdatrace.bpf import plan

COMMON = """name: {name}
ID: 123
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
EXEC = """\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:1;
\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:pid_t old_pid;\toffset:16;\tsize:4;\tsigned:1;

print fmt: "filename=%s pid=%d old_pid=%d", __get_str(filename), REC->pid, REC->old_pid
"""
# Linux 5.6 made `protocol` 16 bits wide, which 5.10 has and 5.4 has not.
STATE = """\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;
\tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;
\tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;
\tfield:__u16 family;\toffset:28;\tsize:2;\tsigned:0;
\tfield:__u16 protocol;\toffset:30;\tsize:2;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;
\tfield:__u8 daddr[4];\toffset:36;\tsize:4;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:__u8 daddr_v6[16];\toffset:56;\tsize:16;\tsigned:0;

print fmt: "family=%s protocol=%s", "field:int sport;offset:1;size:1", 0
"""
STATE_5_4 = STATE.replace(
    "__u16 protocol;\toffset:30;\tsize:2", "__u8 protocol;\toffset:30;\tsize:1"
)
NEWTASK_5_10 = """\tfield:pid_t pid;\toffset:8;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:12;\tsize:16;\tsigned:1;
\tfield:unsigned long clone_flags;\toffset:32;\tsize:8;\tsigned:0;
\tfield:short oom_score_adj;\toffset:40;\tsize:2;\tsigned:1;
"""
NEWTASK_6_18 = NEWTASK_5_10.replace("unsigned long", "u64").replace("signed:1;", "signed:0;")
EXIT_5_10 = """\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:1;
\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prio;\toffset:28;\tsize:4;\tsigned:1;
"""
EXIT_6_18 = EXIT_5_10 + "\tfield:bool group_dead;\toffset:32;\tsize:1;\tsigned:0;\n"
ENTER = """\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;
\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;
"""
EXIT_SYSCALL = """\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;
\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;
"""
# Not used, because of this: between the two, names became strings of any length.
FORK_5_10 = """\tfield:char parent_comm[16];\toffset:8;\tsize:16;\tsigned:1;
\tfield:pid_t parent_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:char child_comm[16];\toffset:28;\tsize:16;\tsigned:1;
\tfield:pid_t child_pid;\toffset:44;\tsize:4;\tsigned:1;
"""
FORK_6_18 = """\tfield:__data_loc char[] parent_comm;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t parent_pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] child_comm;\toffset:16;\tsize:4;\tsigned:0;
\tfield:pid_t child_pid;\toffset:20;\tsize:4;\tsigned:1;
"""
KERNELS = {
    "5.10": {
        "task_newtask": NEWTASK_5_10,
        "sched_process_exec": EXEC,
        "sched_process_exit": EXIT_5_10,
        "inet_sock_set_state": STATE,
        "sys_enter": ENTER,
        "sys_exit": EXIT_SYSCALL,
    },
    "6.18": {
        "task_newtask": NEWTASK_6_18,
        "sched_process_exec": EXEC,
        "sched_process_exit": EXIT_6_18,
        "inet_sock_set_state": STATE,
        "sys_enter": ENTER,
        "sys_exit": EXIT_SYSCALL,
    },
}
HEADERS = {
    "x86_64": f"/usr/include/{platform.machine()}-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


def text(fields: str) -> str:
    return COMMON.format(name="whatever") + fields


def attachment(event: str) -> plan.Attachment:
    [found] = [each for each in plan.PLAN if each.event == event and not each.raw]
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_plan_fits_the_format_files_of_a_kernel(kernel: str) -> None:
    with_fields = [each for each in plan.PLAN if not each.raw]
    assert {each.event for each in with_fields} == set(KERNELS[kernel])
    for each in with_fields:
        assert each.fields  # nothing is read unchecked
        assert plan.mismatch(each, text(KERNELS[kernel][each.event])) == ""


def test_a_kernel_that_is_too_old_is_told_by_its_narrow_field() -> None:
    why = plan.mismatch(attachment("inet_sock_set_state"), text(STATE_5_4))
    assert why == "inet_sock_set_state.protocol is not where the probe looks for it"


@pytest.mark.parametrize(
    ("event", "fields", "field"),
    [
        ("sched_process_exec", EXEC.replace("offset:12;", "offset:16;", 1), "pid"),
        ("sched_process_exit", EXIT_5_10.replace("pid_t pid", "pid_t tid"), "pid"),
        ("task_newtask", NEWTASK_5_10.replace("offset:32;\tsize:8", "offset:32;\tsize:4"),
         "clone_flags"),
        ("sys_enter", ENTER.replace("size:48", "size:24"), "args"),
        ("sys_exit", "", "id"),
    ],
)  # fmt: skip
def test_a_field_that_moved_shrank_or_went_is_named(event: str, fields: str, field: str) -> None:
    why = plan.mismatch(attachment(event), text(fields))
    assert why == f"{event}.{field} is not where the probe looks for it"


def test_a_file_without_any_field_does_not_fit() -> None:
    assert plan.mismatch(attachment("sys_enter"), "")


def test_field_names_are_found_in_every_kind_of_declaration() -> None:
    assert plan.format_fields(text(STATE))["skaddr"] == (8, 8)  # a pointer
    assert plan.format_fields(text(STATE))["daddr_v6"] == (56, 16)  # an array
    assert plan.format_fields(text(EXEC))["filename"] == (8, 4)  # a string of any length
    assert plan.format_fields(text(STATE))["sport"] == (24, 2)  # and not what "print fmt" says
    pointer = "\tfield:void *pointer;\toffset:8;\tsize:8;\tsigned:0;\n"
    assert plan.format_fields(pointer) == {"pointer": (8, 8)}
    old, new = plan.format_fields(text(FORK_5_10)), plan.format_fields(text(FORK_6_18))
    assert (old["child_pid"], new["child_pid"]) == ((44, 4), (20, 4))
    assert (old["child_comm"], new["child_comm"]) == ((28, 16), (16, 4))


def test_every_operation_is_dispatched_and_nothing_else() -> None:
    assert set(plan.DISPATCH) == set(wire.OPS) - {"none"}
    for name, (entry, leave) in plan.DISPATCH.items():
        assert entry or leave
        if name.startswith("exit_"):
            assert leave
            assert not entry  # only ever reached from another exit


def test_groups_and_sets_of_programs_name_what_there_is() -> None:
    dispatched = {program for pair in plan.DISPATCH.values() for program in pair if program}
    attached = {each.program for each in plan.PLAN}
    assert {each.group for each in plan.PLAN} >= plan.ESSENTIAL
    assert dispatched >= plan.SYSCALL_PROGRAMS
    assert attached >= plan.RAW_PROGRAMS
    assert not dispatched & attached
    # The kernel checks what a plain program reads; a raw one gets the tracepoint's own arguments.
    assert {each.raw for each in plan.PLAN if each.program.endswith("_raw")} == {True}
    assert {each.raw for each in plan.PLAN if not each.program.endswith("_raw")} == {False}


@pytest.mark.parametrize("machine", plan.SYSCALL_NUMBERS)
def test_every_machine_has_every_syscall(machine: str) -> None:
    syscalls = {name for name in plan.DISPATCH if not name.startswith("exit_")}
    assert set(plan.SYSCALL_NUMBERS[machine].values()) == syscalls


@pytest.mark.parametrize("machine", plan.SYSCALL_NUMBERS)
def test_syscall_numbers_are_the_kernel_headers(machine: str) -> None:
    header = Path(HEADERS[machine])
    require(header.exists(), f"there is no {header} (linux-libc-dev)")
    names: dict[int, set[str]] = {}
    for name, number in re.findall(
        r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE
    ):
        names.setdefault(int(number), set()).add(name)
    # dup2 exists on x86 only and closes its target, like dup3.
    same = {"dup2": "dup3"}
    for number, name in plan.SYSCALL_NUMBERS[machine].items():
        assert name in {same.get(each, each) for each in names[number]}, number
