"""A function as stock Lambda has them: nobody's user, no capabilities, no eBPF."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support_agent import Function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.emulator import Emulator

CONFINED = Path(__file__).parent / "integration/preload/confined.py"
WRAPPER = "/opt/lambdatrace/wrapper"
# Started in the emulator's place: makes what the function prints to its own, and confines it all.
_START = """#!/bin/sh
for word in "$@"; do
    case $word in
        /tmp/lambdatrace-*/output) chmod 666 "$word"; chmod 711 "${{word%/*}}" ;;
    esac
done
exec {python} -I {confined} {rie} "$@"
"""


class ConfinedFunction(Function):
    """Its store is a file in a folder that everybody may write to."""

    def emulator(
        self,
        environ: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Emulator:
        from lambdatrace.emulator import find_rie

        start = self.folder / "confined-rie"
        start.write_text(_START.format(python=sys.executable, confined=CONFINED, rie=find_rie()))
        start.chmod(0o755)
        return super().emulator(
            {"AWS_LAMBDA_EXEC_WRAPPER": WRAPPER, **(environ or {})},
            extensions,
            rie_path=start,
            **options,
        )
