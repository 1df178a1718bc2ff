"""Executions are written one by one: twice as many take no more memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import support_exports as exports

from lambdatrace.export.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = ("--since", "2026-11-22T00:00:00Z")
FEW, MANY, EACH = 100, 900, 100
# Held as objects, the records that MANY has more take 80 MB and above; as lines 25.
SLACK_MB = 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("large")
    return [exports.large(folder / f"{n}.db", n, EACH, 2_000) for n in (FEW, MANY)]


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_holds_no_more_than_it_is_at(
    tmp_path: Path, stores: list[str], form: str
) -> None:
    few, many = (
        exports.peak_mb(
            "export", "--store", url, *WINDOW, "--format", form, "-o", str(tmp_path / f"{form}.out")
        )
        for url in stores
    )
    assert many < few + SLACK_MB, (few, many)
