"""Executions are written one by one: twice as many take no more memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import support_exports as exports

from lambdatrace.export.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = ("--since", "2026-11-22T00:00:00Z")
# Few are enough for what is held at once: the rows of a row group of Parquet.
FEW, MANY, EACH, CALLS = 170, 500, 60, 2_000
# The 20,000 records that MANY has more take 25 MB and above when they are held.
SLACK_MB = 10


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("large")
    return [exports.large(folder / f"{n}.db", n, EACH, CALLS) for n in (FEW, MANY)]


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
