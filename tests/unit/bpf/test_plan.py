"""The plan: format files of several kernels, what does not fit, and numbers that agree."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from support import require

from lambdatrace import wire
from lambdatrace.bpf import compile as compiler
from lambdatrace.bpf import plan
from lambdatrace.capture import CAPTURE

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
HEADERS = {
    "x86_64": f"/usr/include/{platform.machine()}-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


def text(fields: str) -> str:
    return COMMON.format(name="whatever") + fields


def attachment(event: str) -> plan.Attachment:
    [found] = [each for each in plan.PLAN if each.event == event and not each.raw]
    return found


def test_the_plan_fits_the_format_file_of_kernels_since_5_10() -> None:
    [only] = [each for each in plan.PLAN if not each.raw]
    assert only.event == "inet_sock_set_state"
    assert plan.mismatch(only, text(STATE)) == ""


def test_a_kernel_that_is_too_old_is_told_by_its_narrow_field() -> None:
    why = plan.mismatch(attachment("inet_sock_set_state"), text(STATE_5_4))
    assert why == "inet_sock_set_state.protocol is not where the probe looks for it"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (STATE.replace("offset:56;", "offset:60;", 1), "daddr_v6"),
        (STATE.replace("__u16 dport;\toffset:26;\tsize:2", "__u16 dport;\toffset:26;\tsize:4"),
         "dport"),
        (STATE.replace("newstate", "state"), "newstate"),
        ("", "skaddr"),
    ],
)  # fmt: skip
def test_a_field_that_moved_shrank_or_went_is_named(fields: str, field: str) -> None:
    why = plan.mismatch(attachment("inet_sock_set_state"), text(fields))
    assert why == f"inet_sock_set_state.{field} is not where the probe looks for it"


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


def test_every_operation_of_the_plan_is_one_of_the_wire_and_has_its_places() -> None:
    assert set(plan.OPERATIONS) <= set(wire.OPS) - {"none"}
    for name, (entry, leave, traits) in plan.OPERATIONS.items():
        assert {entry, leave} <= {"", *plan.PLACES}, name
        assert entry or leave or traits, name
        # on_sys_enter hands a transfer on by itself, and asks for its descriptor.
        if traits & plan.IS_TRANSFER:
            assert not entry, name
            assert traits & plan.HAS_FD, name
        if traits & plan.IS_FILE:
            assert traits & plan.HAS_FD, name
        # What is handed on when it comes out has to have begun when it went in.
        assert not leave or entry or traits & plan.IS_TRANSFER, name


TRAITS = {
    name: value
    for name, value in vars(plan).items()
    if name.startswith(("IS_", "HAS_")) or name == "RECEIVES"
}


def test_traits_are_bits_and_places_fit_a_byte() -> None:
    assert sorted(TRAITS.values()) == [1 << bit for bit in range(len(TRAITS))]
    assert max(TRAITS.values()) < 256
    assert all(f"#define {name} {value}\n" in plan.c_header() for name, value in TRAITS.items())
    assert list(plan.PLACE_NUMBERS.values()) == list(range(1, len(plan.PLACES) + 1))
    assert len(set(plan.PLACES.values())) == len(plan.PLACES) < 256


def test_every_place_is_called_by_the_plan_or_by_another_program() -> None:
    source = compiler.source_text()
    by_the_plan = {
        place for entry, leave, _ in plan.OPERATIONS.values() for place in (entry, leave)
    }
    for place, program in plan.PLACES.items():
        assert re.search(rf"hand_on\(ctx, t, [^)]*\bAT_{place}\b", source) or (
            place in by_the_plan or re.search(rf"->next = [^;]*\bAT_{place}\b", source)
        ), place
        assert re.search(rf"^int {program}\(raw \*ctx\)$", source, re.MULTILINE), program


def test_programs_have_the_context_that_their_tracepoint_gives() -> None:
    source = compiler.source_text()
    assert {each.group for each in plan.PLAN} >= plan.ESSENTIAL
    for each in plan.PLAN:
        [context] = re.findall(rf"^int {each.program}\((.+) \*ctx\)$", source, re.MULTILINE)
        assert (context == "raw") == each.raw
        # The kernel checks what a plain program reads; a raw one gets the tracepoint's arguments.
        assert bool(each.fields) != each.raw
        assert (each.program in plan.PLAIN_PROGRAMS) != each.raw
    # The compiler takes no others: every program is attached or handed on to.
    programs = set(re.findall(r"^int (on_\w+)\(", source, re.MULTILINE))
    fallbacks = set(plan.FALLBACKS.values())
    assert programs == {each.program for each in plan.PLAN} | set(plan.PLACES.values()) | fallbacks


EVERYTHING = plan.programs(frozenset(CAPTURE), record_syscalls=True)
NOTHING = plan.programs(frozenset(), record_syscalls=False)


def attached(*groups: str) -> set[str]:
    return {each.program for each in plan.PLAN if each.group in groups}


def at(*places: str) -> set[str]:
    return {plan.PLACES[place] for place in places}


@pytest.mark.parametrize(
    ("group", "own"),
    [
        ("dns", at("DNS", "PIECE")),
        ("tls", at("TLS", "PIECE")),
        ("exchanges", at("EXCHANGE")),
        ("cpu", attached("cpu") | at("COME", "RESUME")),
        # Sleep is seen by the scheduler's events.
        ("blocked", attached("cpu") | at("BLOCKED", "COME", "PAUSE", "RESUME")),
        ("processes", attached("processes")),
    ],
)
def test_a_group_brings_its_programs_and_no_others(group: str, own: set[str]) -> None:
    assert own
    assert plan.programs(frozenset({group}), record_syscalls=False) == NOTHING | own
    assert not NOTHING & own
    others = frozenset(CAPTURE) - {group}
    assert plan.programs(others, record_syscalls=True) | own == EVERYTHING


def test_without_any_group_connections_are_still_seen() -> None:
    assert attached("tree", "states", "retransmits", "resets", "calls") <= NOTHING
    needed = [
        place
        for name, (entry, leave, _) in plan.OPERATIONS.items()
        if name not in ("open", "openat")
        for place in (entry, leave)
        if place
    ]
    assert at(*needed) <= NOTHING


def test_the_syscall_level_is_one_program_more() -> None:
    without = plan.programs(frozenset(CAPTURE), record_syscalls=False)
    assert EVERYTHING - without == at("RECORD")


# Not on every machine, because others take their place there: open for openat, and so on.
ELSEWHERE = {"aarch64": {
    "open", "poll", "select", "epoll_wait", "pause", "rename", "mkdir", "unlink", "vfork",
}}  # fmt: skip


@pytest.mark.parametrize("machine", plan.SYSCALL_NUMBERS)
def test_every_machine_has_every_syscall(machine: str) -> None:
    named = set(wire.OPS) - {"none"}
    assert set(plan.SYSCALL_NUMBERS[machine].values()) == named - ELSEWHERE.get(machine, set())
    assert machine in plan.ARGUMENTS


@pytest.mark.parametrize("machine", plan.SYSCALL_NUMBERS)
def test_syscall_numbers_are_the_kernel_headers(machine: str) -> None:
    names = numbered(machine)
    # dup2 exists on x86 only and closes its target, like dup3.
    same = {"dup2": "dup3"}
    for number, name in plan.SYSCALL_NUMBERS[machine].items():
        assert name in {same.get(each, each) for each in names[number]}, number


@pytest.mark.parametrize("machine", plan.SYSCALL_NUMBERS)
def test_no_syscall_of_a_name_in_the_plan_is_left_out(machine: str) -> None:
    """What a machine has under a known name is known there."""
    names = numbered(machine)
    known = plan.SYSCALL_NUMBERS[machine]
    missing = {
        (number, name)
        for number, found in names.items()
        for name in found & set(wire.OPS)
        if number not in known
    }
    assert missing == set()


def numbered(machine: str) -> dict[int, set[str]]:
    """The names the kernel's headers have for each number."""
    header = Path(HEADERS[machine])
    require(header.exists(), f"there is no {header} (linux-libc-dev)")
    names: dict[int, set[str]] = {}
    for name, number in re.findall(
        r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE
    ):
        names.setdefault(int(number), set()).add(name)
    # Some have one name on machines of 64 bits and another one in the list for all of them.
    for number, other in re.findall(
        r"^#define __NR_(\w+) __NR3264_(\w+)$", header.read_text(), re.MULTILINE
    ):
        for found in names.values():
            if other in found:
                found.add(number)
    return names
