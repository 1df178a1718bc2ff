"""One command of lambdatrace under cProfile: which files and functions take most, own time."""

from __future__ import annotations

import cProfile
import pstats
import sys


def _where(path: str, function: str) -> str:
    if path == "~":
        return function.strip("<>{}")
    for mark in ("site-packages/", "/lib/python", "/lambdatrace/"):
        if mark in path:
            return mark.strip("/") + "/" + path.rpartition(mark)[2]
    return path


def main() -> None:
    """Run the command of the arguments; the last line of standard error names four."""
    profile = cProfile.Profile()
    profile.enable()
    from lambdatrace.cli.environment import Environment
    from lambdatrace.cli.main import program

    program(sys.argv[1:], Environment())
    profile.disable()
    own: dict[str, float] = {}
    for (path, _, function), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        where = _where(path, function)
        own[where] = own.get(where, 0.0) + row[2]
    total = sum(own.values())
    most = sorted(own.items(), key=lambda row: -row[1])[:4]
    said = ", ".join(f"{where} {100 * seconds / total:.0f}%" for where, seconds in most)
    print(said, file=sys.stderr)


if __name__ == "__main__":
    main()
