"""JSON lines: everything comes back, byte for byte, and reads like the store it came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import support_exports as exports
import support_traces as traces
from support_cli import Result, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    return exports.store(tmp_path / "store.db")


def exported(path: Path, url: str, *more: str) -> Path:
    result = run("export", "--store", url, "-o", str(path), *more)
    assert result == Result(0, "", "")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_export_import_export_is_byte_identical(tmp_path: Path, url: str) -> None:
    first = exported(tmp_path / "a.jsonl", url)
    copy = f"sqlite://{tmp_path}/copy.db"
    for _ in range(2):  # the second time everything is there already
        result = run("import", str(first), "--store", copy)
        assert result.code == 0
        assert result.stderr == f"note: {len(exports.kinds())} executions put into {copy}\n"
    second = exported(tmp_path / "b.jsonl", copy)
    assert first.read_bytes() == second.read_bytes()
    third = tmp_path / "c.jsonl"
    assert run("export", "--from", str(first), "-o", str(third)).code == 0
    assert first.read_bytes() == third.read_bytes()


def test_it_holds_every_record_in_its_own_line(tmp_path: Path) -> None:
    url = exports.store(tmp_path / "store.db", exports.everything(1))
    found = lines(exported(tmp_path / "a.jsonl", url))
    assert [each["record"] for each in found] == [
        "header", "execution", "item", "item", *["connection"] * 6, *["namelookup"] * 2,
        *["exchange"] * 2, "blocked", "pause", "process", "extension", "syscall", "end",
    ]  # fmt: skip
    assert {each["execution_id"] for each in found if "host" in each} == {
        "00000001-1d5c-4d3e-9a54-000000000001"
    }
    shown = json.loads(run("show", "0000", "--store", url, "-o", "json").stdout)
    for name, kind in (("connections", "connection"), ("syscalls", "syscall")):
        own = [{**each} for each in found if each["record"] == kind]
        for each in own:
            del each["record"], each["execution_id"]
        assert own == shown[name]


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_show_from_a_file_equals_show_from_the_store(tmp_path: Path, url: str, output: str) -> None:
    file = str(exported(tmp_path / "a.jsonl", url))
    for items in exports.kinds().values():
        execution_id = items[0].execution_id
        options = ["show", execution_id, "-o", output, *(["--events"] * (output == "table"))]
        assert run(*options, "--from", file) == run(*options, "--store", url)


@pytest.mark.parametrize(
    "command",
    [
        ["list", "--since", "2h"],
        ["list", "--since", "2h", "-o", "json"],
        ["list", "--since", "10m", "--slowest", "--errors"],
        ["stats", "--since", "2h"],
        ["top-destinations", "--since", "2h"],
        ["top-destinations", "--since", "2h", "--filter", "host~partner"],
        ["compare", "00000001", "00000006", "--since", "2h"],
        ["show", "@latest", "--since", "2h"],
    ],
    ids=" ".join,
)
def test_a_window_of_a_file_is_that_of_the_store(
    tmp_path: Path, url: str, command: list[str]
) -> None:
    file = str(exported(tmp_path / "a.jsonl", url))
    found = run(*command, "--from", file)
    assert found == run(*command, "--store", url)
    assert found.stdout


def test_without_a_window_a_file_is_all_of_it(tmp_path: Path) -> None:
    url = exports.store(
        tmp_path / "store.db",
        traces.execution(
            execution_id="old", started_ns=traces.STARTED_NS - 400 * 24 * 3_600 * 10**9
        ),
        traces.execution(execution_id="new"),
    )
    assert "old" not in run("list", "--store", url).stdout
    file = str(exported(tmp_path / "a.jsonl", url, "--since", "500d"))
    for command in (["list"], ["show", "ol"], ["stats"], ["compare", "old", "new"]):
        assert run(*command, "--from", file).code == 0
    assert [line[:3] for line in run("list", "--from", file).stdout.splitlines()[2:]] == [
        "new", "old",
    ]  # fmt: skip
    assert run("list", "--from", file, "--until", "1d").stdout.count("old") == 1


def test_which_executions(tmp_path: Path, url: str) -> None:
    def ids(*more: str) -> list[str]:
        found = lines(exported(tmp_path / "a.jsonl", url, *more))
        return [each["execution_id"][:8] for each in found if each["record"] == "execution"]

    assert ids("@latest", "00000004", "@latest") == ["00000000", "00000004"]
    assert ids("--filter", "status!=ok") == ["00000006"]
    assert ids("--filter", "host~partner") == ["00000001"]
    assert ids("--since", "3m") == ["00000000", "00000001", "00000002"]
    # Of two with one id, `show` and this take the later one; a window has both.
    assert ids("00000001-1d5c-4d3e-9a54-000000000001") == ["00000001"]
    assert ids("--since", "7m").count("00000001") == 2
    assert len(ids("00000006", "--with-usual")) == 1 + 12


def test_what_is_compared_can_travel_along(tmp_path: Path, url: str) -> None:
    file = str(exported(tmp_path / "a.jsonl", url, "00000001", "--with-usual"))
    shown = run("show", "00000001", "--from", file)
    # But for its other attempt, which is not in the file.
    assert shown.stdout == run("show", "00000001", "--store", url).stdout
    assert "usually" in shown.stdout or "as usual" in shown.stdout


def test_files_behind_one_another(tmp_path: Path, url: str) -> None:
    one = exported(tmp_path / "a.jsonl", url, "00000004")
    two = exported(tmp_path / "b.jsonl", url, "00000004", "00000006")
    both = tmp_path / "both.jsonl"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert run("list", "--from", str(both)).stdout.count("0000000") == 2
    assert run("show", "00000004", "--from", str(both)).code == 0


def test_other_programs_may_have_written_the_lines_anew(tmp_path: Path, url: str) -> None:
    file = exported(tmp_path / "a.jsonl", url)
    compact = tmp_path / "compact.jsonl"
    compact.write_text(
        "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in lines(file))
    )
    assert run("list", "--from", str(compact)) == run("list", "--from", str(file))


def _cut(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def _changed(name: str, value: object, record: str = "item") -> Callable[[str], str]:
    def change(text: str) -> str:
        made = []
        for line in text.splitlines():
            document = json.loads(line)
            if document["record"] == record:
                document[name] = value
            made.append(json.dumps(document) + "\n")
        return "".join(made)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: "", "is no export"),
        (lambda _: "id,host\n1,2\n", "is no export"),
        (lambda _: '{"record": "header"}\n', "is no export"),
        (lambda _: '{"record": "header", "format": "lambdatrace", "version": 2}\n', "version 2"),
        (lambda _: '{"record": "header", "format": "lambdatrace", "version": "1"}\n', "no export"),
        (lambda _: '{"record": "header"' + "[" * 100_000 + "\n", "is no export"),
        (lambda text: text.partition("\n")[2], "is no export"),
        (_cut, "cut short"),
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: text.partition("\n")[0] + "\n" + "x" * 5_000_000, "longer than any"),
        (_changed("body", "not base64!"), "item that is none"),
        (_changed("timestamp_ns", -1), "item that is none"),
        (_changed("timestamp_ns", 1.5), "item that is none"),
        (_changed("tie", True), "item that is none"),
        (_changed("kind", "other"), "item that is none"),
        (_changed("execution_id", "idx#2026-11-22T07#0"), "item that is none"),
        (_changed("execution_id", 7), "item that is none"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(
    tmp_path: Path, url: str, change: Callable[[str], str], said: str
) -> None:
    file = exported(tmp_path / "a.jsonl", url)
    file.write_text(change(file.read_text()))
    for command in (["list", "--from"], ["import", "--store", f"sqlite://{tmp_path}/x.db"]):
        result = run(*command, str(file))
        assert result.code == 1
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert "unexpected" not in result.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_changed("body", "TFRzMw=="), "not as long as it says"),
        (_changed("schema", 99), "schema 99"),
        (_changed("schema", 0), "has schema 0"),
    ],
)
def test_an_execution_that_cannot_be_read_is_left_out(
    tmp_path: Path, url: str, change: Callable[[str], str], said: str
) -> None:
    good, bad = (exported(tmp_path / name, url, f"0000000{name}") for name in "46")
    bad.write_text(change(bad.read_text()))
    good.write_bytes(good.read_bytes() + bad.read_bytes())
    copy = f"sqlite://{tmp_path}/copy.db"
    result = run("import", str(good), "--store", copy)
    assert result.code == 1
    assert "note: 1 execution put into" in result.stderr
    assert said in result.stderr
    assert run("list", "--store", copy).stdout.count("0000000") == 1
    result = run("export", "--from", str(good), "-o", str(tmp_path / "again.jsonl"))
    assert result.code == 1
    assert said in result.stderr
    assert [each["execution_id"][:8] for each in lines(tmp_path / "again.jsonl")[1:2]] == [
        "00000004"
    ]


@pytest.mark.parametrize("path", ["missing.jsonl", ".", "nul\0"])
def test_no_file(tmp_path: Path, path: str) -> None:
    result = run("list", "--from", str(tmp_path / path))
    assert result.code == 1
    assert result.stderr.startswith("error: ")
    assert "unexpected" not in result.stderr


def test_a_store_and_a_file_are_too_many(tmp_path: Path, url: str) -> None:
    file = str(exported(tmp_path / "a.jsonl", url))
    for command in (["list"], ["show", "@latest"], ["stats"], ["export"], ["top-destinations"]):
        assert run(*command, "--from", file, "--store", url).code == 2
    assert run("list", "--from", file, "--follow").code == 2


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("what was there")
    path.chmod(0o640)
    result = run("export", "nothing-like-it", "--store", url, "-o", str(path))
    assert result.code == 3
    assert path.read_text() == "what was there"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.jsonl", "store.db"]
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    exported(link, url)
    assert link.is_symlink()
    assert path.read_text().startswith('{"record": "header"')
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_to(tmp_path: Path, url: str) -> None:
    result = run("export", "--store", url, "-o", str(tmp_path / "no/such/folder.jsonl"))
    assert result.code == 1
    assert "cannot be written" in result.stderr
    assert run("export", "--store", url, "-o", "/dev/null").code == 0
    assert run("export", "--store", url, "-o", "/dev/full").code == 1


def test_nothing_found_is_said(tmp_path: Path, url: str) -> None:
    result = run("export", "--store", url, "--function", "none", "-o", str(tmp_path / "a.jsonl"))
    assert result.code == 0
    assert "no executions of function 'none'" in result.stderr
    assert [each["record"] for each in lines(tmp_path / "a.jsonl")] == ["header", "end"]
    assert run("list", "--from", str(tmp_path / "a.jsonl")).code == 0


def test_to_standard_output(url: str) -> None:
    result = run("export", "@latest", "--store", url)
    assert result.code == 0
    assert json.loads(result.stdout.splitlines()[0])["format"] == "lambdatrace"
