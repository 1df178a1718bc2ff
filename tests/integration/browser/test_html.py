"""The page in a real browser: what it does, what it must not do, and what it looks like.

After a change of its looks that was meant, write the picture anew with GOLDEN=write; look at it.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import support_show as shown
import support_traces as traces
from support import require
from support_browser import Browser, browser

from lambdatrace.export.html import page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = {"width": 1_000, "height": 800}
WIDTHS = (360, 800, 1_400)
OWNED = "window.owned = (window.owned || 0) + 1"
HOSTILE = [
    f"</script><script>{OWNED}</script>",
    f'"><img src="http://127.0.0.1:9/x" onerror="{OWNED}">',
    f"<svg onload='{OWNED}'>",
    "<style>body{display:none}</style>",
    "<!--",
    "\x1b[31m\u202e\x00\ud800",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Pages of cases as files."""
    folder = tmp_path_factory.mktemp("pages")

    def written(*cases: str) -> Path:
        path = folder / f"{'-'.join(cases).replace(' ', '-')[:80]}.html"
        if not path.exists():
            reports = (shown.report(shown.stored(case)) for case in cases)
            path.write_text("".join(page(reports)), "utf-8")
        return path

    return written


def hostile_page(folder: Path) -> Path:
    reports = []
    for number, name in enumerate(HOSTILE):
        items = shown.stored(
            "hostile",
            execution_id=f"hostile-{number}",
            function=name,
            unavailable={name: name},
            shares=[["wait", f"{name}:443", 890 * shown.MS], ["file", name, 80 * shown.MS]],
            details={
                "lookups": [shown.lookup(name, name, answered=3, answer=name, connection=9)],
                "hosts": {"1": name, "2": name},
                "processes": [traces.process(200, name=name, exit_code=1)],
            },
        )
        reports.append(shown.report(items))
    path = folder / "hostile.html"
    path.write_text("".join(page(reports)), "utf-8")
    return path


def numbers(chromium: Browser) -> list[str]:
    """The rows that are shown, by their numbers."""
    return chromium.texts(".waterfall tbody .number")


def state(chromium: Browser) -> str:
    return chromium.texts(".state")[0]


def seen(chromium: Browser) -> list[float]:
    """The stretch of time that is looked at, ms."""
    found = re.findall(r"([\d.]+) (ms|s)\b", state(chromium).split(",")[0])
    return [float(figure) * (1_000 if unit == "s" else 1) for figure, unit in found]


def place(chromium: Browser, selector: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of an element in the window."""
    left, top, width, height = chromium.run(
        "const found = document.querySelector(arguments[0]);"
        "found.scrollIntoView({block: 'center'});"
        "const box = found.getBoundingClientRect();"
        "return [box.left, box.top, box.width, box.height]",
        selector,
    )
    return left, top, width, height


def axis(chromium: Browser) -> list[str]:
    return chromium.texts(".waterfall thead text")


def bar_of(chromium: Browser, row: str) -> list[float]:
    """Left end and width of each stretch of a row, per cent."""
    found = chromium.run(
        "return [...document.querySelectorAll(`#${arguments[0]} .bar > rect`)]"
        ".flatMap((each) => [each.getAttribute('x'), each.getAttribute('width')])",
        row,
    )
    return [float(each.rstrip("%")) for each in found]


@pytest.mark.parametrize("case", list(shown.CASES))
def test_nothing_is_asked_for_and_nothing_complained_of(
    case: str, chromium: Browser, pages: Callable[..., Path]
) -> None:
    """Not by the page at rest, nor at work."""
    path = pages(case)
    chromium.open(path)
    if chromium.run("return !!document.querySelector('.tools')"):
        chromium.click("[data-do=in]")
        chromium.write("[name=text]", "example")
        chromium.run("document.querySelector('.row:not([hidden])')?.focus()")
    assert chromium.complaints() == []
    assert chromium.requests() == [path.as_uri()]


def test_a_server_is_asked_once(chromium: Browser, pages: Callable[..., Path]) -> None:
    """Served over HTTP, where browsers would look for icons and the like."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            asked.append(self.path)

    path = pages("pipeline", "tls")
    handler = partial(Handler, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            chromium.open(f"http://127.0.0.1:{server.server_port}/{path.name}")
            chromium.click("details.report summary")
            assert chromium.texts(".waterfall")
            assert chromium.complaints() == []
        finally:
            server.shutdown()
    assert asked == [f"/{path.name}"]


def test_hostile_names_do_nothing(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(hostile_page(tmp_path))
    for summary in range(len(HOSTILE)):
        chromium.run("document.querySelectorAll('summary')[arguments[0]].click()", summary)
    # Names are put in anew by what a row says of itself.
    for row in chromium.run("return [...document.querySelectorAll('.row')].map((each) => each.id)"):
        left, top, *_ = place(chromium, f"[id='{row}']")
        chromium.point((left + 9, top + 9))
        assert chromium.texts(".tip b")
    assert chromium.run("return window.owned ?? 0") == 0
    assert chromium.run("return document.querySelectorAll('img, main svg[onload]').length") == 0
    assert chromium.complaints() == []
    assert len(chromium.requests()) == 1
    shown_text = chromium.run("return document.body.innerText")
    for name in HOSTILE[:-1]:
        assert name in shown_text
    assert r"\x1b[31m\u202e\x00\ud800" in shown_text


def test_the_policy_is_what_stops_a_script(chromium: Browser, tmp_path: Path,
                                           pages: Callable[..., Path]) -> None:  # fmt: skip
    """Even one that were in the page would not run, and could ask for nothing."""
    text = pages("pipeline").read_text()
    path = tmp_path / "broken.html"
    inside = f"<script>{OWNED}</script><img src='data:,' onerror='{OWNED}'><p style='color:red'>"
    path.write_text(text.replace("<main>", f"<main>{inside}"))
    chromium.open(path)
    assert chromium.run("return window.owned ?? 0") == 0
    complaints = " ".join(chromium.complaints())
    assert "script-src" in complaints
    assert "img-src" in complaints
    assert "style-src" in complaints
    # The page's own script is not stopped by it.
    assert chromium.texts(".tools")


def test_zoom(chromium: Browser, pages: Callable[..., Path]) -> None:
    chromium.open(pages("pipeline"), **SIZE)
    whole = axis(chromium)
    assert whole[0] == "0"
    assert whole[-1] == "2.00 s"
    before = bar_of(chromium, "r1-c3")

    chromium.click("[data-do=in]")
    assert state(chromium) == "500 ms to 1.50 s, 1.00 s of 2.00 s"
    assert axis(chromium) != whole
    assert max(bar_of(chromium, "r1-c3")[1::2]) > max(before[1::2])
    chromium.click("[data-do=out]")
    assert axis(chromium) == whole
    assert bar_of(chromium, "r1-c3") == pytest.approx(before, abs=0.01)

    # A stretch is chosen with the mouse; what is chosen is what is seen.
    left, top, width, _ = place(chromium, "#r1-c3 .drawn")
    chromium.point((left + width / 4, top + 9), (left + width / 2, top + 9), hold=True)
    assert seen(chromium) == pytest.approx([500, 1_000], abs=10)
    chromium.press("Escape", "Escape")  # what a row says of itself goes first
    assert axis(chromium) == whole

    # Keys, once a row has the focus.
    chromium.run("document.querySelector('#r1-c3').focus()")
    chromium.press("+", "+")
    assert state(chromium) == "750 ms to 1.25 s, 500 ms of 2.00 s"
    chromium.press("ArrowRight")
    assert state(chromium) == "850 ms to 1.35 s, 500 ms of 2.00 s"
    chromium.press("-")
    assert state(chromium) == "600 ms to 1.60 s, 1.00 s of 2.00 s"
    chromium.press("0")
    assert axis(chromium) == whole

    # The wheel alone scrolls the page; with Ctrl it zooms around the mouse.
    wheel = {"type": "mouseWheel", "x": left + width / 4, "y": top + 9, "deltaX": 0, "deltaY": -120}
    chromium.cdp("Input.dispatchMouseEvent", **wheel)
    chromium.settle()
    assert axis(chromium) == whole
    left, top, width, _ = place(chromium, "#r1-c3 .drawn")
    wheel |= {"y": top + 9, "modifiers": 2}
    chromium.cdp("Input.dispatchMouseEvent", **wheel)
    chromium.settle()
    assert seen(chromium) == pytest.approx([197, 1_410], abs=15)
    chromium.press("0")

    # Two fingers that move apart.
    def touch(kind: str, *places: float) -> None:
        points = [
            {"x": left + width * each, "y": top + 9, "id": n} for n, each in enumerate(places)
        ]
        chromium.cdp("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    chromium.cdp("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchEnd")
    chromium.cdp("Emulation.setTouchEmulationEnabled", enabled=False)
    # One finger after the other is told of.
    assert seen(chromium) == pytest.approx([500, 1_500], abs=50)
    assert chromium.complaints() == []


def test_nobody_gets_lost_in_it(chromium: Browser, pages: Callable[..., Path]) -> None:
    """As far in as it goes, as far to the side, and out again."""
    chromium.open(pages("folded"), **SIZE)
    chromium.run("document.querySelector('.row').focus()")
    whole = axis(chromium)
    chromium.press(*"+" * 40)
    assert "0.001 ms of 2.00 s" in state(chromium)
    chromium.press(*["ArrowRight"] * 5, *"-" * 40)
    assert axis(chromium) == whole
    assert chromium.complaints() == []


def test_filter(chromium: Browser, pages: Callable[..., Path]) -> None:
    chromium.open(pages("tls"), **SIZE)
    everything = ["c1", "c2", "e1", "e4", "e5", "c3", "c4", "w1", "c5", ""]
    assert numbers(chromium) == everything
    chromium.write("[name=text]", "EXAMPLE.com")
    assert numbers(chromium) == ["c2", "c3", "c5"]
    assert state(chromium) == "3 of 10 rows"
    chromium.write("[name=text]", "example.com unknown_ca")
    assert numbers(chromium) == ["c3"]
    chromium.write("[name=text]", " ")
    chromium.write("[name=slower]", "640")
    assert numbers(chromium) == ["c2", "c4", "c5"]
    chromium.write("[name=slower]", "0")
    chromium.click("[value=connection]")
    assert numbers(chromium) == ["w1", ""]
    chromium.click("[value=wait]")
    chromium.click("[value=cpu]")
    assert numbers(chromium) == []
    assert state(chromium) == "0 of 10 rows"
    # A link to a row that is filtered out shows it.
    chromium.run("location.hash = '#r1-c5'")
    chromium.settle()
    assert numbers(chromium) == everything
    assert chromium.run("return document.activeElement.id") == "r1-c5"


def test_keys_walk_through_the_rows(chromium: Browser, pages: Callable[..., Path]) -> None:
    chromium.open(pages("tls"), **SIZE)
    reached = []
    for _ in range(30):
        chromium.press("Tab")
        reached.append(chromium.run("return document.activeElement.id"))
        if reached[-1] == "r1-c1":
            break
    assert reached[-1] == "r1-c1"  # one stop for all rows, the first one
    assert chromium.texts(".tip b") == ["c1 10.0.0.6:8080"]
    chromium.press("ArrowDown", "ArrowDown")
    assert chromium.texts(".tip b") == ["e1 100 B out, 0 B in"]
    assert "took\n400 ms" in chromium.texts(".tip")[0]
    chromium.press("End", "ArrowDown")
    assert chromium.texts(".tip b") == ["on a CPU"]
    chromium.press("Home", "ArrowUp")
    assert chromium.texts(".tip b") == ["c1 10.0.0.6:8080"]
    chromium.press("Escape")
    assert chromium.texts(".tip b") == []
    # The mouse tells the same, and the moment it is at.
    left, top, width, _ = place(chromium, "#r1-c4 .drawn")
    chromium.point((left + width / 2, top + 9))
    tip = chromium.texts(".tip")[0]
    assert tip.startswith("c4 10.0.0.5:9000")
    assert "here" in tip
    # A finger tells it to, by a tap.
    chromium.open(pages("tls"), width=360, height=640)
    left, top, *_ = place(chromium, "#r1-c4 .what")
    chromium.cdp("Emulation.setTouchEmulationEnabled", enabled=True)
    for kind, points in (("touchStart", [{"x": left + 9, "y": top + 9}]), ("touchEnd", [])):
        chromium.cdp("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    chromium.cdp("Emulation.setTouchEmulationEnabled", enabled=False)
    assert chromium.texts(".tip b") == ["c4 10.0.0.5:9000"]
    assert chromium.run("return document.querySelector('.row').getAttribute('aria-describedby')")
    roles = chromium.run(
        "return [...document.querySelectorAll('.waterfall, .waterfall [role]')]"
        ".map((each) => each.getAttribute('role'))"
    )
    assert set(roles) == {"grid", "rowgroup", "row", "columnheader", "rowheader", "gridcell"}


def test_the_verdict_leads_to_its_row(chromium: Browser, pages: Callable[..., Path]) -> None:
    chromium.open(pages("pipeline"), width=800, height=400)
    chromium.click(".evidence a")
    chromium.settle()
    assert chromium.run("return document.activeElement.id") == "r1-c3"
    top = place(chromium, "#r1-c3")[1]
    assert 0 <= top < 400


def test_a_list_of_executions(chromium: Browser, pages: Callable[..., Path]) -> None:
    chromium.open(pages("pipeline", "command", "open"), **SIZE)
    functions = [row.split("\t")[1] for row in chromium.texts(".list tbody tr")]
    assert functions == ["checkout", "python3", "checkout"]
    chromium.click(".list th:nth-child(4) button")
    assert chromium.texts(".list tbody tr")[0].split("\t")[3] == "3.00 s"
    chromium.click(".list th:nth-child(2) button")
    assert chromium.texts(".list tbody tr")[-1].split("\t")[1] == "python3"
    chromium.click(".list th:nth-child(2) button")
    assert chromium.texts(".list tbody tr")[0].split("\t")[1] == "python3"
    assert chromium.run("return document.querySelector('[aria-sort]').ariaSort") == "descending"
    # Reports are closed until one is asked for.
    assert chromium.texts(".waterfall") == []
    chromium.click(".list a[href='#r3']")
    chromium.settle()
    assert len(chromium.texts(".waterfall")) == 1
    assert chromium.run("return document.querySelector('#r3').open") is True
    assert chromium.texts("#r3 .tools")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_it_fits_every_screen(
    width: int, script: bool, chromium: Browser, pages: Callable[..., Path], tmp_path: Path
) -> None:
    """No page scrolls sideways, with whatever names; what is too wide does so by itself."""
    cases = [pages(case) for case in ("pipeline", "tls", "wide", "folded", "command", "extensions")]
    for path in [*cases, pages("pipeline", "hostile"), hostile_page(tmp_path)]:
        chromium.open(path, width=width, script=script)
        metrics = chromium.cdp("Page.getLayoutMetrics")
        assert metrics["cssContentSize"]["width"] <= width, path.name


def test_it_reads_without_its_script(chromium: Browser, pages: Callable[..., Path]) -> None:
    """The bars are drawn, to the same scale; nothing is offered that would not work."""
    chromium.open(pages("tls"), **SIZE, script=False)
    chromium.cdp("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.texts(".tools") == []
    still = bar_of(chromium, "r1-c4")
    chromium.open(pages("tls"), **SIZE)
    assert bar_of(chromium, "r1-c4") == pytest.approx(still, abs=0.01)
    assert chromium.texts(".tools")


def test_it_prints(chromium: Browser, pages: Callable[..., Path], tmp_path: Path) -> None:
    require(shutil.which("pdftotext"), "pdftotext is missing: apt-get install poppler-utils")
    chromium.open(pages("pipeline", "tls"), **SIZE, dark=True)
    chromium.click("#r1 summary")
    chromium.settle()
    chromium.click("#r1 [data-do=in]")
    path = tmp_path / "page.pdf"
    path.write_bytes(chromium.pdf())
    assert chromium.texts("#r1 .state")[0].startswith("500 ms to 1.50 s")  # as it was before
    text = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True,
                          check=True).stdout  # fmt: skip
    # Also what is folded up on the screen.
    for words in ("Timed out: 58 % of 2.00 s", "Out of memory", "slow.example.com:443", "exchange"):
        assert words in text
    assert "Filter" not in text
    first = text[: text.index("Out of memory")]
    assert re.search(r"# +what +start +took +0 .* 2\.00 s +result", first)  # all of the time
    # On white, whatever the screen is like.
    chromium.media(dark=True, printed=True)
    colour = "return getComputedStyle(document.body).backgroundColor"
    assert chromium.run(colour) == "rgb(255, 255, 255)"
    chromium.media()


def test_light_and_dark(chromium: Browser, pages: Callable[..., Path]) -> None:
    """Text keeps a contrast of 4.5 : 1 (WCAG 2, 1.4.3) to what is behind it."""
    ratio = """
      const light = (text) => {
        const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const back = (each) => {
        for (let at = each; at; at = at.parentElement) {
          const colour = getComputedStyle(at).backgroundColor;
          if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }
      };
      const found = {};
      for (const each of document.querySelectorAll(arguments[0])) {
        const [a, b] = [getComputedStyle(each).color, back(each)].map(light).sort((x, y) => y - x);
        const name = each.className || each.tagName;
        found[name] = Math.min(found[name] ?? 21, (a + 0.05) / (b + 0.05));
      }
      return found;
    """
    backs = set()
    for dark in (False, True):
        chromium.open(pages("tls"), **SIZE, dark=dark)
        backs.add(chromium.run("return getComputedStyle(document.body).backgroundColor"))
        found = chromium.run(
            ratio, "p, h2, h3, a, dt, dd, th, td, .badge, .dim, .bad, .good, .warn"
        )
        assert {name: value for name, value in found.items() if value < 4.5} == {}
        assert len(found) > 10
    assert len(backs) == 2


# --- looks ---------------------------------------------------------------------------------------
#
# Two pictures are held against those that somebody has looked at: the whole page, and what is drawn
# in it, each bar cut out and brought to one size, one below the other. Both are compared scaled
# down. On the page letters become grey then, so that another version of a font, or another font,
# makes no difference, but a column or a table that is elsewhere does. Among the bars, where there
# are no letters, less is let pass.

BARS = """
  return [...document.querySelectorAll(".stacked, .bar")]
    .filter((each) => !each.querySelector(".axis"))
    .map((each) => each.getBoundingClientRect())
    .map((box) => [box.left + scrollX, box.top + scrollY, box.width, box.height]);
"""
CUT = """
  const [data, boxes, width, height] = arguments;
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.src = `data:image/png;base64,${data}`;
  }).then((image) => {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height * boxes.length;
    const context = canvas.getContext("2d");
    boxes.forEach((box, at) => context.drawImage(image, ...box, 0, at * height, width, height));
    return canvas.toDataURL().split(",")[1];
  });
"""
COMPARE = """
  const [one, other, blur] = arguments;
  const load = (data) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.src = `data:image/png;base64,${data}`;
  });
  return Promise.all([load(one), load(other)]).then((images) => {
    const width = Math.round(Math.max(...images.map((each) => each.width)) / blur);
    const height = Math.round(Math.max(...images.map((each) => each.height)) / blur);
    const pixels = images.map((image) => {
      const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
      context.fillStyle = "#ff00ff";  // what one picture has and the other has not
      context.fillRect(0, 0, width, height);
      context.imageSmoothingQuality = "high";
      context.drawImage(image, 0, 0, image.width / blur, image.height / blur);
      return context.getImageData(0, 0, width, height).data;
    });
    let sum = 0;
    for (let at = 0; at < pixels[0].length; at += 4) {
      const [a, b] = pixels.map((each) => each.slice(at, at + 3));
      sum += Math.max(...a.map((value, c) => Math.abs(value - b[c])));
    }
    return sum / (width * height);
  });
"""
# Picture: (how far it is scaled down, how far it may be from the one that is held, of 255 on
# average). Here, page and bars are 0 from it, and at most 1.6 and 0 in other fonts.
ALIKE = {"page": (20, 4.0), "bars": (16, 2.0)}


def pictures(chromium: Browser, path: Path, change: str = "") -> dict[str, bytes]:
    chromium.open(path, **SIZE)
    if change:
        chromium.run(change)
    whole = chromium.picture(whole=True)
    boxes = chromium.run(BARS)
    chromium.open("about:blank")
    cut = chromium.run(CUT, base64.b64encode(whole).decode(), boxes, 400, 16)
    return {"page": whole, "bars": base64.b64decode(cut)}


def differences(chromium: Browser, found: dict[str, bytes]) -> dict[str, float]:
    """How far pictures are from those that are held; those that are not alike."""
    chromium.open("about:blank")
    far = {}
    for name, (blur, most) in ALIKE.items():
        pair = [base64.b64encode(each).decode() for each in (found[name], held(name).read_bytes())]
        mean = chromium.run(COMPARE, *pair, blur)
        print(f"{name}: {mean:.2f}")
        if mean > most:
            far[name] = mean
    return far


def held(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.png")


def test_it_looks_as_it_did(chromium: Browser, pages: Callable[..., Path]) -> None:
    found = pictures(chromium, pages("pipeline"))
    if os.environ.get("GOLDEN") == "write":
        for name, data in found.items():
            held(name).write_bytes(data)
    assert differences(chromium, found) == {}


@pytest.mark.parametrize("family", ["DejaVu Serif", "DejaVu Sans Condensed"])
def test_fonts_make_no_difference(
    family: str, chromium: Browser, pages: Callable[..., Path]
) -> None:
    change = f"document.body.style.fontFamily = '{family}'"
    assert differences(chromium, pictures(chromium, pages("pipeline"), change)) == {}


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ("document.querySelector('#r1-c3 .bar').style.visibility = 'hidden'", "bars"),
        ("for (const each of document.querySelectorAll('pattern rect')) each.style.fill = '#0a0'",
         "bars"),
        ("for (const each of document.querySelectorAll('.texture')) each.style.display = 'none'",
         "bars"),
        ("document.querySelector('.parts').remove()", "page"),
        ("document.styleSheets[0].disabled = true", "page"),
    ],
)  # fmt: skip
def test_other_looks_do(
    change: str, which: str, chromium: Browser, pages: Callable[..., Path]
) -> None:
    assert which in differences(chromium, pictures(chromium, pages("pipeline"), change))
