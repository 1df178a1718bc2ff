"""The agent's writer against DynamoDB on a bad day: nothing is lost that need not be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from faulty_proxy import (
    FaultyProxy,
    cuts_after,
    cuts_before,
    cuts_in_the_middle,
    is_slow,
    leaves_half,
    passes,
    refuses,
)
from samples import START_NS, execution

from lambdatrace.agent.writer import open_writer
from lambdatrace.items import Item
from lambdatrace.store import open_store
from lambdatrace.store import url as store_url

if TYPE_CHECKING:
    from faulty_proxy import Fault

throttled = refuses("ProvisionedThroughputExceededException")
limited = refuses("ThrottlingException")
broken = refuses("InternalServerError", 500)
unavailable = refuses("ServiceUnavailable", 503)
forbidden = refuses("AccessDeniedException")
slow = is_slow(1.0)

BUDGET = 60.0  # s; far more than any of these needs
NAMES = [f"id-{number}" for number in range(30)]


def executions() -> list[Item]:
    """Many small items and a few large ones: several batches."""
    return [
        item
        for number, name in enumerate(NAMES)
        for item in execution(name, START_NS + number, connections=3_000 if number < 4 else 5)
    ]


def through(proxy: FaultyProxy, table: str) -> str:
    target = store_url.parse(table, {})
    target.endpoint = proxy.endpoint
    return str(target)


def stored(table: str, environ: dict[str, str]) -> list[Item]:
    store = open_store(table, environ=environ)
    found = [item for name in NAMES for item in store.get(name)]
    store.close()
    return found


def by_key(written: list[Item]) -> list[Item]:
    """What the executions' own keys hold (index rows have their buckets)."""
    own = [item for item in written if item.execution_id in NAMES]
    return sorted(own, key=lambda item: (NAMES.index(item.execution_id), item.key))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([throttled, limited, throttled], id="throttled"),
        pytest.param([leaves_half] * 12, id="partial"),
        pytest.param([broken, unavailable, broken], id="failing"),
        pytest.param([cuts_before, passes, cuts_before, cuts_before], id="cut before"),
        pytest.param([cuts_after, passes, cuts_after], id="cut after"),
        pytest.param([cuts_in_the_middle, passes, cuts_in_the_middle], id="cut in the middle"),
        pytest.param([slow, passes, slow], id="slow"),
        pytest.param(
            [throttled, leaves_half, broken, cuts_after, leaves_half, cuts_before, slow, limited],
            id="everything",
        ),
    ],
)
def test_within_the_budget_nothing_is_lost(
    script: list[Fault], table: str, aws_environ: dict[str, str]
) -> None:
    written = executions()
    with FaultyProxy(store_url.parse(table, {}).endpoint or "", script) as proxy:
        writer = open_writer(through(proxy, table), aws_environ)
        lost = writer.write(written, time.monotonic() + BUDGET)
        assert lost == 0, writer.last_error
        assert proxy.requests >= len(script)
        writer.close()
    assert stored(table, aws_environ) == by_key(written)


def test_an_attempt_that_hangs_leaves_time_for_another(
    table: str, aws_environ: dict[str, str]
) -> None:
    written = execution(NAMES[0])
    with FaultyProxy(store_url.parse(table, {}).endpoint or "", [is_slow(30)]) as proxy:
        writer = open_writer(through(proxy, table), aws_environ)
        assert writer.write(written, time.monotonic() + 8) == 0, writer.last_error
        assert writer.retries == 1
        writer.close()
    assert stored(table, aws_environ) == by_key(written)


@pytest.mark.parametrize(
    "for_ever",
    [throttled, broken, cuts_before, is_slow(30)],
    ids=["throttled", "500", "cut", "slow"],
)
def test_beyond_the_budget_the_loss_is_counted(
    for_ever: Fault, table: str, aws_environ: dict[str, str]
) -> None:
    written = executions()
    backend = store_url.parse(table, {}).endpoint or ""
    with FaultyProxy(backend, [passes, leaves_half], then=for_ever) as proxy:
        writer = open_writer(through(proxy, table), aws_environ)
        lost = writer.write(written, time.monotonic() + 5)
        assert writer.last_error
        writer.close()
    store = open_store(table, environ=aws_environ)
    kept = {
        item.key for name in {item.execution_id for item in written} for item in store.get(name)
    }
    store.close()
    assert 0 < lost < len(written)
    assert lost == len([item for item in written if item.key not in kept])


def test_what_is_not_allowed_is_asked_once(table: str, aws_environ: dict[str, str]) -> None:
    written = executions()
    with FaultyProxy(store_url.parse(table, {}).endpoint or "", then=forbidden) as proxy:
        writer = open_writer(through(proxy, table), aws_environ)
        assert writer.write(written, time.monotonic() + BUDGET) == len(written)
        assert proxy.requests == 1
        assert "AccessDenied" in writer.last_error
        writer.close()


def test_after_a_bad_day_the_same_writer_goes_on(table: str, aws_environ: dict[str, str]) -> None:
    written = execution(NAMES[0])
    with FaultyProxy(store_url.parse(table, {}).endpoint or "", [cuts_before] * 3) as proxy:
        writer = open_writer(through(proxy, table), aws_environ)
        for _ in range(5):
            assert writer.write(written, time.monotonic() + BUDGET) == 0
        assert writer.retries == 3
        writer.close()
    assert stored(table, aws_environ) == by_key(written)


def test_an_item_dynamodb_refuses_is_lost_alone(table: str, aws_environ: dict[str, str]) -> None:
    too_large = Item(NAMES[1], START_NS, 999, "chunk", bytes(500_000), 0)
    written = executions()
    writer = open_writer(table, aws_environ)
    assert writer.write([*written[:10], too_large, *written[10:]], time.monotonic() + BUDGET) == 1
    assert "ValidationException" in writer.last_error
    writer.close()
    assert stored(table, aws_environ) == by_key(written)


def test_a_table_that_is_not_there(dynamodb_local: str, aws_environ: dict[str, str]) -> None:
    url = f"dynamodb://Nowhere?region=eu-west-1&endpoint={dynamodb_local}"
    writer = open_writer(url, aws_environ)
    assert writer.write(execution("id"), time.monotonic() + BUDGET) == 2
    assert "ResourceNotFound" in writer.last_error
    assert writer.retries == 0
    writer.close()
