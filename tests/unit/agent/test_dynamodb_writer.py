"""The slim writer's decisions: batches, retries, losses. The service is a script here.

What DynamoDB itself does with the requests is in tests/integration/store.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st
from samples import NEVER, START_NS, execution

from lambdatrace.agent import dynamodb
from lambdatrace.agent.credentials import CredentialSource
from lambdatrace.agent.dynamodb import DynamoWriter, batches, default_endpoint, request_body
from lambdatrace.agent.http import HttpError, Response
from lambdatrace.agent.writer import open_writer
from lambdatrace.errors import StoreError, UsageError
from lambdatrace.items import CHUNK, SUMMARY, Item
from lambdatrace.store.sqlite import SqliteStore
from lambdatrace.store.url import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Step = Response | HttpError | Callable[[list[Any]], Response]

KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}


def ok(**more: object) -> Response:
    return Response(200, {}, json.dumps(more).encode())


def refusal(name: str, status: int = 400) -> Response:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": "because"}
    return Response(status, {}, json.dumps(body).encode())


class Service:
    """Answers as the script says, then accepts everything. Keeps what it accepted."""

    def __init__(self, *script: Step) -> None:
        self.script = deque(script)
        self.stored: list[str] = []
        self.requests = 0
        self.bytes_sent = 0

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> Response:
        self.requests += 1
        puts = json.loads(body)["RequestItems"]["Traces"]
        step = self.script.popleft() if self.script else ok()
        if isinstance(step, HttpError):
            raise step
        response = step if isinstance(step, Response) else step(puts)
        left = _numbers(_unprocessed(response))
        if response.status == 200 and left is not None:
            self.stored += [number for number in _numbers(puts) or () if number not in left]
        return response

    def close(self) -> None:
        pass


def _unprocessed(response: Response) -> object:
    try:
        return json.loads(response.body).get("UnprocessedItems", {}).get("Traces", [])
    except (ValueError, AttributeError):
        return None  # what the script says makes no sense, and nothing counts as stored


def _numbers(puts: Any) -> list[str] | None:
    try:
        return [put["PutRequest"]["Item"]["TimestampNano"]["N"] for put in puts]
    except (TypeError, KeyError):
        return None


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def writer_for(
    service: Service, clock: Clock | None = None, environ: Mapping[str, str] = KEYS
) -> DynamoWriter:
    clock = clock or Clock()
    writer = DynamoWriter(
        "Traces",
        "eu-west-1",
        Endpoint(False, "127.0.0.1", 1),
        CredentialSource(environ),
        clock=clock,
        now=lambda: 1e9,
        sleep=clock.sleep,
        random=lambda: 1.0,
    )
    writer._http = service  # type: ignore[assignment]
    return writer


def some(count: int) -> list[Item]:
    return [Item("id", number, 0, CHUNK, b"x", NEVER) for number in range(count)]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@given(
    st.lists(
        st.builds(
            Item,
            st.text("abc-", min_size=36, max_size=36),
            st.integers(0, 2**63 - 1),
            st.integers(0, 10**9 - 1),
            st.just(CHUNK) | st.just(SUMMARY),
            st.integers(0, 350_000).map(lambda size: b'"' * size),  # JSON at its worst
            st.just(NEVER),
        ),
        max_size=60,
    )
)
def test_batches_are_within_dynamodbs_limits_and_keep_the_order(written: list[Item]) -> None:
    cut = list(batches(written))
    assert [item for batch in cut for item in batch] == written
    for batch in cut:
        assert 0 < len(batch) <= 25
        assert len(request_body("T" * 255, batch)) <= dynamodb.MAX_BATCH_BYTES + 1_000


def test_everything_is_written_in_order() -> None:
    service = Service()
    writer = writer_for(service)
    assert writer.write(some(60), 10) == 0
    assert service.stored == numbers(60)
    assert (service.requests, writer.retries, writer.last_error) == (3, 0, "")


def test_of_equal_keys_the_last_one_is_written() -> None:
    bodies: list[str] = []

    def step(puts: list[Any]) -> Response:
        bodies.extend(put["PutRequest"]["Item"]["Summary"]["B"] for put in puts)
        return ok()

    same = [Item("id", START_NS, 0, SUMMARY, text, NEVER) for text in (b"1", b"2")]
    assert writer_for(Service(step)).write(same, 10) == 0
    assert bodies == ["Mg=="]  # 2


@pytest.mark.parametrize(
    "trouble",
    [
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException"),
        refusal("RequestLimitExceeded"),
        refusal("InternalServerError", 500),
        Response(503, {}, b"<html>"),
        Response(429, {}, b""),
        Response(200, {}, b"not JSON"),
        Response(200, {}, b"[]"),
        HttpError("no answer from it: Connection reset by peer"),
    ],
)
def test_trouble_that_passes_costs_nothing(trouble: Step) -> None:
    service, clock = Service(trouble, trouble, trouble), Clock()
    writer = writer_for(service, clock)
    assert writer.write(some(30), 10) == 0
    assert sorted(service.stored, key=int) == numbers(30)
    assert writer.retries == 3
    assert writer.last_error
    first = dynamodb.BACKOFF_FIRST
    assert clock.slept == [first, 2 * first, 4 * first]


def test_waits_are_drawn_from_zero_to_the_longest() -> None:
    service, clock = Service(*[refusal("ThrottlingException")] * 4), Clock()
    writer = writer_for(service, clock)
    draws = iter([0.0, 0.5, 1.0, 0.25])
    writer._random = lambda: next(draws)
    writer.write(some(1), 100)
    first = dynamodb.BACKOFF_FIRST
    assert clock.slept == [0.0, first, 4 * first, 2 * first]


def test_waits_grow_to_a_limit() -> None:
    service, clock = Service(*[refusal("ThrottlingException")] * 2000), Clock()
    writer_for(service, clock).write(some(1), 3_000)
    assert max(clock.slept) == dynamodb.BACKOFF_MAX


def test_unprocessed_items_are_sent_again_and_only_they() -> None:
    seen: list[int] = []

    def leave_half(puts: list[Any]) -> Response:
        seen.append(len(puts))
        left = puts[len(puts) // 2 :]
        for put in left:  # DynamoDB repeats numbers in its own notation
            put["PutRequest"]["Item"]["TimestampNano"]["N"] += ".000"
        return ok(UnprocessedItems={"Traces": left} if left else {})

    service = Service(*[leave_half] * 3)
    writer = writer_for(service)
    assert writer.write(some(8), 10) == 0
    assert seen == [8, 4, 2]
    assert service.requests == 4
    assert writer.retries == 3


def take_two(puts: list[Any]) -> Response:
    return ok(UnprocessedItems={"Traces": puts[2:]} if len(puts) > 2 else {})


def test_what_goes_along_keeps_nobody_waiting() -> None:
    service, clock = Service(*[take_two] * 20), Clock()
    writer = writer_for(service, clock)
    everything = some(10)
    assert writer.write(everything[:3], 10, everything[3:]) == 6
    assert service.stored == numbers(4)
    assert [str(item.timestamp_nano) for item in writer.left] == numbers(10)[4:]
    assert (service.requests, writer.retries, len(clock.slept)) == (2, 1, 1)


def test_what_goes_along_is_written_with_the_others() -> None:
    service = Service(refusal("ThrottlingException"))
    writer = writer_for(service)
    fresh = Item("id", 1, 0, CHUNK, b"fresh", NEVER)
    assert writer.write([fresh], 10, some(3)) == 0
    assert service.stored == ["1", "0", "2"]
    assert (service.requests, writer.left) == (2, [])


def test_an_unprocessed_item_nobody_sent_makes_the_batch_go_again() -> None:
    stranger = {"ExecutionID": {"S": "other"}, "TimestampNano": {"N": "1"}}
    answer = ok(UnprocessedItems={"Traces": [{"PutRequest": {"Item": stranger}}]})
    service = Service(answer)
    assert writer_for(service).write(some(3), 10) == 0
    assert service.stored[-3:] == numbers(3)


@pytest.mark.parametrize(
    "name",
    [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ExpiredTokenException",
        "SerializationException",
    ],
)
def test_what_will_not_pass_is_not_tried_again(name: str) -> None:
    service = Service(ok(), refusal(name))
    writer = writer_for(service)
    assert writer.write(some(60), 10) == 35
    assert service.requests == 2
    assert name in writer.last_error
    assert writer.retries == 0


def test_of_a_batch_with_an_invalid_item_only_that_one_is_lost() -> None:
    def validate(puts: list[Any]) -> Response:
        found = {put["PutRequest"]["Item"]["TimestampNano"]["N"] for put in puts}
        return refusal("ValidationException") if found & {"13", "20"} else ok()

    service = Service(*[validate] * 100)
    writer = writer_for(service)
    assert writer.write(some(40), 10) == 2
    assert sorted(service.stored, key=int) == [n for n in numbers(40) if n not in ("13", "20")]
    assert "ValidationException" in writer.last_error


def test_a_batch_that_is_too_large_for_somebody_in_between_is_halved() -> None:
    def gateway(puts: list[Any]) -> Response:
        return ok() if len(puts) <= 4 else Response(413, {}, b"<html>too large</html>")

    service = Service(*[gateway] * 100)
    writer = writer_for(service)
    assert writer.write(some(40), 10) == 0
    assert sorted(service.stored, key=int) == numbers(40)


@pytest.mark.parametrize(
    "bad", [Item("id", 2**64, 0, CHUNK, b"", NEVER), Item("id", 99, 0, SUMMARY, b"\xff", NEVER, 1)]
)
def test_an_item_that_cannot_be_expressed_is_lost_alone(bad: Item) -> None:
    service = Service()
    assert writer_for(service).write([*some(5), bad], 10) == 1
    assert service.stored == numbers(5)


def test_beyond_the_deadline_the_loss_is_counted() -> None:
    service, clock = Service(ok(), *[refusal("ThrottlingException")] * 1000), Clock()
    writer = writer_for(service, clock)
    assert writer.write(some(60), 2.0) == 35
    assert clock.now == 2.0
    assert "ThrottlingException" in writer.last_error


def test_after_the_deadline_nothing_is_sent() -> None:
    service = Service()
    writer = writer_for(service)
    assert writer.write(some(3), -1.0) == 3
    assert service.requests == 0
    assert writer.last_error


def test_write_units_are_what_dynamodb_says() -> None:
    service = Service(ok(ConsumedCapacity=[{"TableName": "Traces", "CapacityUnits": 7.5}]), ok())
    writer = writer_for(service)
    writer.write(some(30), 10)
    assert writer.write_units == 7.5


@pytest.mark.parametrize("units", ["1e999", "-1", "NaN", "1e300"])
def test_write_units_that_cannot_be(units: str) -> None:
    answer = f'{{"ConsumedCapacity":[{{"CapacityUnits":{units}}}]}}'.encode()
    writer = writer_for(Service(Response(200, {}, answer), ok()))
    assert writer.write(some(3), 10) == 0
    assert (writer.write_units, writer.retries) == (0, 1)


def test_without_credentials_nothing_is_sent_and_everything_counted() -> None:
    service = Service()
    writer = writer_for(service, environ={})
    assert writer.write(some(3), 10) == 3
    assert service.requests == 0
    assert "no AWS credentials" in writer.last_error
    with pytest.raises(StoreError):
        writer.prepare(10)


@given(st.integers(100, 599), st.binary() | st.text().map(lambda t: json.dumps(t).encode()))
def test_no_answer_makes_it_raise(status: int, body: bytes) -> None:
    writer = writer_for(Service(*[Response(status, {}, body)] * 50))
    assert 0 <= writer.write(some(3), 1.0) <= 3
    assert writer.last_error.isprintable()
    assert len(writer.last_error) <= 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["UnprocessedItems", "ConsumedCapacity", "x"]), json_values)
    | json_values
)
def test_no_json_makes_it_raise(answer: object) -> None:
    writer = writer_for(Service(*[Response(200, {}, json.dumps(answer).encode())] * 50))
    assert 0 <= writer.write(some(3), 1.0) <= 3


@pytest.mark.parametrize("partition", Session().get_available_partitions())
def test_endpoints_are_botocores(partition: str) -> None:
    session = Session()
    for region in session.get_available_regions("dynamodb", partition)[:1]:
        client = session.create_client(
            "dynamodb", region, aws_access_key_id="x", aws_secret_access_key="x"
        )
        assert default_endpoint(region) == client.meta.endpoint_url


def test_the_writer_for_a_table() -> None:
    writer = open_writer("dynamodb://Traces", {"AWS_REGION": "cn-north-1"})
    assert isinstance(writer, DynamoWriter)
    assert writer._host == "dynamodb.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("url", "environ", "host", "region"),
    [
        ("dynamodb://Traces?region=eu-west-1", {"AWS_REGION": "x"}, None, "eu-west-1"),
        ("dynamodb://Traces", {"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-1"}, None, "a-1"),
        ("dynamodb://Traces", {"AWS_DEFAULT_REGION": "b-1"}, None, "b-1"),
        (None, {"DYNAMO_TABLE_NAME": "Traces", "AWS_REGION": "a-1"}, None, "a-1"),
        (
            "dynamodb://Traces?region=a-1&endpoint=http://one:1",
            {"AWS_ENDPOINT_URL_DYNAMODB": "http://two:2"},
            "one:1",
            "a-1",
        ),
        (
            "dynamodb://Traces?region=a-1",
            {"AWS_ENDPOINT_URL_DYNAMODB": "http://two:2/", "AWS_ENDPOINT_URL": "http://three:3"},
            "two:2",
            "a-1",
        ),
        ("dynamodb://Traces?region=a-1", {"AWS_ENDPOINT_URL": "http://three:3"}, "three:3", "a-1"),
    ],
)
def test_where_the_writer_goes(
    url: str | None, environ: dict[str, str], host: str | None, region: str
) -> None:
    writer = open_writer(url, environ)
    assert isinstance(writer, DynamoWriter)
    assert (writer._region, writer._host) == (region, host or f"dynamodb.{region}.amazonaws.com")


def test_without_a_region_there_is_no_writer() -> None:
    with pytest.raises(StoreError, match="no AWS region") as caught:
        open_writer("dynamodb://Traces", {})
    assert "AWS_REGION" in caught.value.hint


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError):
        open_writer("dynamodb://Traces?region=a-1", {"AWS_ENDPOINT_URL": "nowhere"})


def test_the_writer_for_a_file() -> None:
    assert isinstance(open_writer("sqlite:///nowhere/x.db", {}), SqliteStore)


def test_an_execution_fits_few_requests() -> None:
    written = execution("id", connections=200)
    assert len(list(batches(written))) == 1


def test_what_is_left_is_what_may_be_written_later() -> None:
    service = Service(
        ok(), refusal("AccessDeniedException"),
    )  # fmt: skip
    writer = writer_for(service)
    assert writer.write(some(60), 10) == 35
    assert [item.timestamp_nano for item in writer.left] == list(range(25, 60))
    assert writer.last_kind == "AccessDeniedException"
    assert writer.last_error.endswith(
        "(the role needs dynamodb:BatchWriteItem on the table Traces)"
    )
    assert writer.write(writer.left, 10) == 0
    assert writer.left == []


def test_what_is_refused_for_good_is_not_left() -> None:
    bad = Item("id", 2**64, 0, CHUNK, b"", NEVER)
    writer = writer_for(Service())
    assert writer.write([*some(5), bad], 10) == 1
    assert (writer.left, writer.last_kind) == ([], "inexpressible")


def test_what_no_time_was_left_for_is_left() -> None:
    writer = writer_for(Service())
    items = some(30)
    assert writer.write(items, 0) == 30
    assert (writer.left, writer.last_kind) == (items, "time")


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (HttpError("nobody there"), "unreachable"),
        (refusal("ThrottlingException"), "ThrottlingException"),
        (Response(502, {}, b"bad gateway"), "502"),
        (Response(200, {}, b"what"), "answer"),
    ],
)
def test_equal_troubles_have_equal_names(step: Step, kind: str) -> None:
    writer = writer_for(Service(*[step] * 100))
    assert writer.write(some(3), 5) == 3
    assert writer.last_kind == kind
    assert [item.timestamp_nano for item in writer.left] == [0, 1, 2]
