"""A function as stock Lambda has them: nobody's user, no capabilities, no eBPF."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support_agent import Function, require_agent

from lambdatrace.emulator import find_rie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lambdatrace.emulator import Emulator

CONFINED = Path(__file__).parent / "integration/preload/confined.py"
NO_NETLINK = "--no-netlink"
WRAPPER = "/opt/lambdatrace/wrapper"
# Started in the emulator's place: what the function prints is to get through, and all is confined.
_START = """#!/bin/sh
for word in "$@"; do
    case $word in
        */lambdatrace-*/output) chmod 666 "$word"; chmod 711 "${{word%/*}}" ;;
    esac
done
exec {python} -I {confined} {netlink} {rie} "$@"
"""


def confined_rie(folder: Path, *, allows_netlink: bool = True) -> Path:
    """A script in `folder` that starts AWS's emulator, and with it everything, confined."""
    start = folder / "confined-rie"
    netlink = "" if allows_netlink else NO_NETLINK
    start.write_text(
        _START.format(python=sys.executable, confined=CONFINED, netlink=netlink, rie=find_rie())
    )
    start.chmod(0o755)
    return start


@contextlib.contextmanager
def confined_function(wrapper: str = WRAPPER) -> Iterator[ConfinedFunction]:
    """One in a folder that anybody may write to; pytest's own are root's."""
    require_agent()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield ConfinedFunction(folder, wrapper)


class ConfinedFunction(Function):
    """Its store is a file in a folder that everybody may write to; `wrapper` "": it has none."""

    def __init__(self, folder: Path, wrapper: str = WRAPPER) -> None:
        super().__init__(folder)
        self._wrapper = wrapper
        self.allows_netlink = True

    def emulator(
        self,
        environ: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Emulator:
        return super().emulator(
            {"AWS_LAMBDA_EXEC_WRAPPER": self._wrapper, **(environ or {})},
            extensions,
            rie_path=confined_rie(self.folder, allows_netlink=self.allows_netlink),
            **options,
        )
