"""What each kind of time is drawn with: a colour, and a texture for those who cannot see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.analysis.waterfall import Activity
from lambdatrace.values import Value

if TYPE_CHECKING:
    from lambdatrace.model import Part

_SIDE = 8  # of a texture's tile, px


class Ink(Value):
    """A colour on a light and on a dark page, and an SVG path drawn over it again and again."""

    light: str
    dark: str
    texture: str = ""


_CALLS = ("#b59a00", "#d8c23a")
# Okabe and Ito's colours, which people with any kind of colour blindness tell apart (Color
# Universal Design, 2008), made lighter or darker where a page of that brightness asks for it.
# Neighbours in time differ in texture as well, so that they also do in grey.
INKS = {
    "dns": Ink("#0072b2", "#4aa3df", "M-2 2l4-4M0 8l8-8M6 10l4-4"),
    "connect": Ink("#e69f00", "#e8a92a", "M2 2h.01M6 6h.01"),
    "tls": Ink("#009e73", "#2fb98f", "M0 0l8 8M0 8l8-8"),
    "send": Ink("#5b7fd6", "#8aa6ee", "M0 2h8M0 6h8"),
    "wait": Ink("#cc79a7", "#d98fb8", "M-2 6l4 4M0 0l8 8M6-2l4 4"),
    "transfer": Ink("#56b4e9", "#7cc7f0"),
    "exchanges": Ink("#7d8fb3", "#93a5c9", "M0 4h5"),
    "call": Ink(*_CALLS, "M2 0v8M6 0v8"),
    "file": Ink(*_CALLS, "M2 0v8M6 0v8"),
    "sleep": Ink(*_CALLS, "M4 0v3"),
    "lock": Ink(*_CALLS, "M4 0v8M0 4h8"),
    "cpu": Ink("#566172", "#aab4c2"),
    "runqueue": Ink("#d55e00", "#ee8438", "M0 6l4-4l4 4"),
    "steal": Ink("#d55e00", "#ee8438", "M2 2l4 4M6 2l-4 4"),
    "other": Ink("#b9bfc8", "#5d6673"),
    "member": Ink("#3f87b8", "#6fb0dd"),
}
_OF_ACTIVITIES = {Activity.RUNNING: "cpu"}


def ink_of(kind: Activity | Part) -> str:
    """The key in INKS of an activity or a part."""
    return _OF_ACTIVITIES.get(kind, str(kind)) if isinstance(kind, Activity) else str(kind)


def variables() -> str:
    """The colours as CSS variables."""
    light = "".join(f"--{name}:{ink.light};" for name, ink in INKS.items())
    dark = "".join(f"--{name}:{ink.dark};" for name, ink in INKS.items())
    fills = "".join(f".fill-{name}{{fill:var(--{name})}}" for name in INKS)
    # On paper the colours for light pages are right, whatever the screen is like.
    return (
        f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{fills}\n"
    )


def patterns() -> str:
    """The textures as SVG patterns, `t-dns` and so on, for the whole page."""
    tile = f'width="{_SIDE}" height="{_SIDE}"'
    found = []
    for name, ink in INKS.items():
        over = f'<path class="texture" d="{ink.texture}"/>' if ink.texture else ""
        found.append(
            f'<pattern id="t-{name}" {tile} patternUnits="userSpaceOnUse">'
            f'<rect class="fill-{name}" {tile}/>{over}</pattern>'
        )
    return (
        '<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>'
        f"{''.join(found)}</defs></svg>\n"
    )
