"""The page as text: what may be in it, what has to be, and that nothing of a trace gets out."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import support_docs
import support_exports as exports
import support_show as shown
import support_traces as traces
from hypothesis import given, settings
from hypothesis import strategies as st
from support_cli import Result, run

from lambdatrace.analysis.waterfall import Activity, Row, Stretch
from lambdatrace.export.html import MOST_REPORTS, page, summary_html, write
from lambdatrace.export.html.bars import coalesced, ticks
from lambdatrace.export.stored import StoredExecution
from lambdatrace.model import CpuTime
from lambdatrace.sanitize import clean

MS = traces.MS
EXAMPLE = Path(__file__).parents[3] / "docs/example.html"
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--<script>",
    "]]>",
    "&lt;b&gt;",
    "$style $content",
    "javascript:alert(1)",
    "\x1b[31m\u202e[red]\x07",
    "\u2028\u2029\u200b",
    "\ud800",
    "\x00",
    "=cmd|'/c calc'!A1",
]
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """A page taken apart; it has to be well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": [], "data": []}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            if tag in self.inside:
                is_data = dict(attrs).get("type") == "application/json"
                self.inside["data" if is_data else tag].append("")
                self._kind = "data" if is_data else tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            self.inside[self._kind][-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Its elements and their attributes, without what is in them."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]


def html(*cases: str) -> str:
    return "".join(page(shown.report(shown.stored(case)) for case in cases))


def place_of(name: str) -> str:
    """A destination; as an IPv6 address is told from its port."""
    return f"[{name}]:443" if ":" in name else f"{name}:443"


def hostile(name: str) -> list[traces.Item]:
    """A trace in which everything that has a name has this one."""
    wire_name = name.encode("utf-8", "surrogatepass")
    return shown.stored(
        "hostile",
        function=name,
        version=name,
        command=name,
        backend=name,
        unavailable={name: name},
        shares=[["wait", place_of(name), 890 * MS], ["file", name, 80 * MS]],
        blocked=[traces.blocked("fsync", ended=80, path=b"/p/" + wire_name[:60])],
        details={
            "lookups": [shown.lookup(name, name, answered=3, answer=name, connection=9)],
            "hosts": {"1": name},
            "tls": {"1": [name, name, name]},
            "processes": [traces.process(200, name=name, exit_code=1)],
            "extensions": [traces.elsewhere(name, host=name)],
        },
    )


@pytest.mark.parametrize("case", [*shown.CASES, "all"])
def test_it_is_one_file_that_allows_nothing_from_outside(case: str) -> None:
    text = html(*shown.CASES) if case == "all" else html(case)
    found = Page(text)
    policy = next(
        attributes["content"] or ""
        for tag, attributes in found.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    for kind in ("style", "script"):
        (content,) = found.inside[kind]
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
    assert rules == {"base-uri": "'none'", "form-action": "'none'"}
    # The policy stands before anything that it is about.
    assert text.index("Content-Security-Policy") < text.index("<style")
    for tag, attributes in found.elements:
        assert not {"style", "src", "srcset", "data", "action", "ping"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#")
        assert tag not in ("link", "base", "iframe", "object", "embed", "img", "form", "use")
    assert not re.search(r"@import|url\((?!#)|image-set", found.inside["style"][0])
    forbidden = r"(inner|outer|insertAdjacent)HTML|document\.write|eval\(|\bFunction\(|fetch\("
    assert not re.search(forbidden, found.inside["script"][0])
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for tag, attributes in found.elements if tag == "a"}
    assert links <= {f"#{each}" for each in ids}
    assert set(re.findall(r"url\(#([\w-]+)\)", text)) <= set(ids)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    """What they hold stands there to be read, and adds no element and no attribute."""
    found = Page("".join(page([shown.report(hostile(name))])))
    plain = Page("".join(page([shown.report(hostile("plain"))])))

    assert found.shape == plain.shape
    assert found.text.count(clean(name)) >= 8
    told = found.inside["data"][0]
    assert not set(told) & set("<>&")
    assert told.isascii()
    names = [row["name"] for row in json.loads(told)["rows"].values()]
    assert f"c1 {clean(place_of(name))}" in names
    for text in (found.text, json.dumps(names, ensure_ascii=False)):
        assert all(mark == "\n" or unicodedata.category(mark)[0] != "C" for mark in text)
        assert not {"\u2028", "\u2029"} & set(text)


@pytest.mark.parametrize("what", exports.HOSTILE)
def test_hostile_names_of_an_export_stay_text(what: str) -> None:
    """Those that every form has to bear, in records of every kind."""
    found, plain = (
        Page(b"".join(write([StoredExecution(exports.everything(1, name))])).decode())
        for name in (exports.HOSTILE[what], "pl:ain" if ":" in exports.HOSTILE[what] else "plain")
    )
    assert found.shape == plain.shape


@settings(max_examples=25)
@given(st.text(st.characters(), min_size=1, max_size=40))
def test_no_name_changes_the_page(name: str) -> None:
    found = Page("".join(page([shown.report(hostile(name))])))
    assert {tag for tag, _ in found.elements if tag in ("script", "style", "img")} == {
        "script", "style"
    }  # fmt: skip
    assert len(found.inside["script"]) == len(found.inside["style"]) == 1


@pytest.mark.parametrize("case", ["pipeline", "tls", "open", "folded"])
def test_it_says_what_show_says(case: str, tmp_path: Path) -> None:
    """Every word that a wide terminal shows beside the bars."""
    url = traces.write(tmp_path / "store.db", shown.stored(case))
    told = run("show", "@latest", "--store", url, "--width", "400").stdout
    words = set(re.findall(r"[\w.:/\[\]-]{2,}", told))
    found = set(re.findall(r"[\w.:/\[\]-]{2,}", " ".join(Page(html(case)).texts)))
    # Words of the terminal's own: its axis has other ticks.
    missing = {each for each in words - found if not re.fullmatch(r"[\d.,:]+%?", each)}
    assert missing <= {"function", "took", "verdict", "--events", "or"}


def test_what_is_not_known_is_said_and_no_figure_is_made_up() -> None:
    text = Page(html("unknown")).text
    assert "not known: group cpu could not be recorded: no tracepoint sched/sched_switch" in text
    assert "unavailable: cpu, blocked: no tracepoint sched/sched_switch" in text
    assert "io_uring was used: what goes through it is not seen" in text
    assert "folded: 3,999 exchanges, 1 blocked syscall" in text
    assert "100.0%" not in text
    incomplete = Page(html("incomplete")).text
    assert "dropped: 1,200 records" in incomplete
    assert "no connections were kept" in incomplete
    assert "unavailable: steal" in Page(html("pipeline")).text


def test_the_verdict_links_to_its_rows() -> None:
    text = html("pipeline")
    evidence = text[text.index('class="evidence"') : text.index("<h3>Where the time went")]
    assert re.findall(r'href="#([^"]*)"', evidence) == ["r1-c3"]
    assert 'id="r1-c3" class="row"' in text
    # A blocked call is one of a row's, whatever its number among all calls is.
    assert 'href="#r1-w1"' in html("open")


def test_ten_thousand_connections_fold() -> None:
    text = html("folded")
    assert len(text) < 100_000
    assert "10,000 times 10.0.0.7:443" in Page(text).text


def test_several_executions_are_a_list_and_a_report_each() -> None:
    reports = iter([shown.report(shown.stored("empty"))] * (MOST_REPORTS + 7))
    found = Page("".join(page(reports, reports)))
    ids = [attributes.get("id") for tag, attributes in found.elements if tag == "details"]
    assert ids == [f"r{number}" for number in range(1, MOST_REPORTS + 1)]
    assert f"{MOST_REPORTS} executions" in found.text
    assert "7 more are not on this page" in found.text
    assert "--filter" in found.text


def test_the_command_writes_it(tmp_path: Path) -> None:
    """The page that is in docs/; what makes it is what says what `show` says."""
    url = support_docs.store(tmp_path / "store.db")
    path = tmp_path / "page.html"
    assert run("export", "c0ff", "--store", url, "-o", str(path)) == Result(0, "", "")
    if os.environ.get("GOLDEN") == "write":
        EXAMPLE.write_bytes(path.read_bytes())
    assert path.read_bytes() == EXAMPLE.read_bytes()
    told = run("show", "c0ff", "--store", url, "--output", "json").stdout
    assert json.loads(told)["verdict"]["text"] in Page(path.read_text()).text


def test_executions_of_a_window_are_compared_with_each_other(tmp_path: Path) -> None:
    url = support_docs.store(tmp_path / "store.db")
    result = run("export", "--store", url, "--function", "checkout", "--format", "html")
    assert (result.code, result.stderr) == (0, "")
    found = Page(result.stdout)
    assert "76 executions" in found.text
    assert re.search(r"usually [\d.]+ ms, the median of 7\d executions", found.text)
    assert "no other execution" not in found.text


def test_without_executions() -> None:
    assert "0 executions" in Page("".join(page([]))).text


def test_one_of_many_is_no_report_alone() -> None:
    found = Page("".join(page([shown.report(shown.stored("empty"))], others=[None])))
    assert "1 more are not on this page" not in found.text
    assert "1 more is not on this page" in found.text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_summary_for_notebooks(name: str) -> None:
    report = shown.report(hostile(name))
    text = summary_html(report.trace.execution, report.verdict, report.trace.pauses)
    found = Page(text)
    tags = {tag for tag, _ in found.elements}
    assert tags <= {"div", "p", "b", "bdi", "svg", "rect", "title", "table", "tbody", "tr", "td"}
    assert not any("style" in attributes for _, attributes in found.elements)
    assert clean(report.verdict.text, 800) in found.text
    assert "90.0%" in found.text


def test_a_summary_without_a_partition() -> None:
    report = shown.report(shown.stored("unknown"))
    text = summary_html(report.trace.execution, report.verdict)
    assert "where the time went is not known: group cpu could not be recorded" in Page(text).text


@given(st.integers(0, 10**13))
def test_ticks_are_round_and_few(duration: int) -> None:
    found = ticks(duration)
    assert found[0] == 0
    assert found[-1] <= duration
    assert len(found) <= 5
    steps = {b - a for a, b in pairwise(found)}
    assert all(str(step).rstrip("0") in ("1", "2", "5") for step in steps)
    assert len(found) >= 2 or duration < 1


@given(
    st.lists(st.tuples(st.sampled_from([Activity.RUNNING, Activity.RUNQUEUE]), st.integers(1, 50)),
             max_size=300),
    st.integers(1, 40),
)  # fmt: skip
def test_many_stretches_are_as_long_together_as_they_were(
    lengths: list[tuple[Activity, int]], most: int
) -> None:
    stretches, at = [], 0
    for activity, length in lengths:
        stretches.append(Stretch(activity, at, at + length))
        at += 2 * length
    row = Row("", CpuTime(0, 0, 0, 0), 0, at, 0, tuple(stretches))
    found = coalesced(row, max(1, at), most)
    assert len(found) <= max(most, 0) or len(found) == len(stretches)
    assert sum(each.end_ns - each.start_ns for each in found) == sum(n for _, n in lengths)
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(found))
