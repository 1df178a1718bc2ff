"""Headless Chromium for tests, through ChromeDriver: pages in it, keys, pictures, its complaints.

WebDriver is JSON over HTTP (W3C); of what ChromeDriver adds to it, commands of the DevTools
protocol and two logs are used.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Root's sandbox needs one thing less to be refused in a container; the rest keeps the browser from
# calling home, which would drown what a page asks for.
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-smooth-scrolling", "--hide-scrollbars",
    "--force-color-profile=srgb", "--lang=en-US",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that W3C's standard gives a reference
_SECONDS = 60.0
KEYS = {
    "Escape": "\ue00c", "End": "\ue010", "Home": "\ue011", "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Tab": "\ue004",
}  # fmt: skip


class Browser:
    """One browser; each page that it opens begins with nothing said of it."""

    def __init__(self, address: str) -> None:
        self._address = address
        options = {"args": list(_FLAGS), "binary": shutil.which("chromium")}
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._post("/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{made['sessionId']}"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error

    def _post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, body)

    def cdp(self, command: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self._post(f"{self._session}/goog/cdp/execute", body)

    def open(
        self, page: Path | str, *, width: int = 1_200, height: int = 900, dark: bool = False,
        script: bool = True,
    ) -> None:  # fmt: skip
        """Open a page in a window of this size (px), and forget what was said of others."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.cdp("Emulation.setScriptExecutionDisabled", value=not script)
        self.media(dark=dark)
        self._post(f"{self._session}/url", {"url": "about:blank"})
        self.complaints()
        self.requests()
        self._post(
            f"{self._session}/url", {"url": page if isinstance(page, str) else page.as_uri()}
        )

    def media(self, *, dark: bool = False, printed: bool = False) -> None:
        """What the page is shown on."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.cdp("Emulation.setEmulatedMedia", media="print" if printed else "", features=features)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns in the page."""
        return self._post(f"{self._session}/execute/sync", {"script": script, "args": arguments})

    def settle(self) -> None:
        """Wait until what has been done shows."""
        self.run(
            "return new Promise((done) =>"
            " requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def texts(self, selector: str) -> list[str]:
        """What can be read in elements that are shown."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((each) => each.checkVisibility())"
            ".map((each) => (each.innerText ?? each.textContent).trim())",
            selector,
        )

    def element(self, selector: str) -> str:
        """A reference to the first element."""
        found = self._post(f"{self._session}/element", {"using": "css selector", "value": selector})
        return found[_ELEMENT]

    def click(self, selector: str) -> None:
        """Click an element."""
        self._post(f"{self._session}/element/{self.element(selector)}/click", {})

    def write(self, selector: str, text: str) -> None:
        """Write into a field that is emptied first."""
        field = f"{self._session}/element/{self.element(selector)}"
        self._post(f"{field}/clear", {})
        self._post(f"{field}/value", {"text": text})

    def press(self, *names: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        keys = [KEYS.get(name, name) for name in names]
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keys", "actions": steps})

    def point(self, *places: tuple[float, float], hold: bool = False) -> None:
        """Move the mouse from place to place; `hold`: with its button down in between."""
        moves = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0} for x, y in places
        ]
        if hold:
            moves.insert(1, {"type": "pointerDown", "button": 0})
            moves.append({"type": "pointerUp", "button": 0})
        self._act({"type": "pointer", "id": "mouse", "actions": moves})

    def _act(self, source: dict[str, Any]) -> None:
        self._post(f"{self._session}/actions", {"actions": [source]})
        self._send("DELETE", f"{self._session}/actions")

    def picture(self, *, whole: bool = False) -> bytes:
        """What is seen, or the whole page, as PNG."""
        shot = self.cdp("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.cdp("Page.printToPDF", printBackground=True,
                                         preferCSSPageSize=True)["data"])  # fmt: skip

    def complaints(self) -> list[str]:
        """What the browser said of the page since it was last asked: errors, violations, notes."""
        found = self._post(f"{self._session}/se/log", {"type": "browser"})
        return [each["message"] for each in found]

    def requests(self) -> list[str]:
        """The addresses that were asked for since it was last asked."""
        found = self._post(f"{self._session}/se/log", {"type": "performance"})
        events = [json.loads(each["message"])["message"] for each in found]
        return [
            each["params"]["request"]["url"]
            for each in events
            if each["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """End it."""
        self._send("DELETE", self._session)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own; without Chromium the test is skipped, and fails in CI."""
    for program in ("chromium", "chromedriver"):
        require(shutil.which(program), f"{program} is missing: apt-get install chromium-driver")
    with tempfile.TemporaryDirectory(prefix="lambdatrace-browser-") as home:
        # ChromeDriver says which port it was given, and goes on saying things.
        environ = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin"}
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environ,
        )  # fmt: skip
        try:
            assert driver.stdout is not None
            line = next(each for each in driver.stdout if "successfully on port" in each)
            made = Browser(f"http://127.0.0.1:{line.rstrip().rstrip('.').rsplit(' ', 1)[1]}")
            try:
                yield made
            finally:
                made.close()
        finally:
            driver.terminate()
            driver.wait()
