"""Execution <-> items: keys, codec, schema version, size budget.

An execution is stored as event chunks, one summary and one index row. All items share one key
schema: `ExecutionID` (string) and `TimestampNano` (a number). The number is nanoseconds since the
epoch with nine decimals behind it (`Item.tie`) that keep items of one nanosecond apart: chunks
count up from the start of the execution, an index row carries nine digits of its id's hash.

A chunk's body is `MAGIC, record kind, record size, count` and then the records, transposed byte by
byte and deflated: equal high bytes of times and ids end up side by side. The bytes are what the
kernel wrote; only readers give them names.

DynamoDB charges each item for kilobytes begun. Where an execution has few records, they stand in
the summary's own item, all in one deflated stream, as differences (columns.py):
    summary (JSON), NUL, details (JSON, or nothing), NUL, number of kinds,
    kind, record size and count of each, columns of each; and behind the stream their lower bytes.
Times of details are relative there: to `monotonic_ns`, ends to their starts. What the item's key
says, `execution_id` and `started_ns`, is not in that summary, nor is what follows from the records:
`destinations`. The index row is the deflated summary, whole.

Details are one JSON object, packed as a chunk whose records are its bytes; times are on the
records' clock:
    lookups [[name, type, server, started, answered or 0, attempts, answer code or null, truncated,
              [address, ...], process id, connection id], ...],
    hosts {connection id: the name that connection was opened for, unless TLS has the same},
    tls {connection id: [server name or "", version or "", alert or ""]},
    processes [[process id, parent's id, name, started, ended, exit code, signal or 0, out of memory
                0 or 1], ...]: those that ended,
    extensions [[process name, process id, host or null, address, port, protocol's number, started,
                 established or 0, closed or 0, bytes_out, bytes_in, errno or 0], ...]: connections
                 of other extensions, if that was asked for, since the execution before,
    extensions_left_out (how many more there were).

A summary is one JSON object. Its keys, "ns" being nanoseconds:
    execution_id, function, version (or null), started_ns (since the epoch), monotonic_ns (the same
    moment on the clock of the records), duration_ns, status, cold_start, backend, level, edges,
    backend_why (why not by a better one; only where there is something to say), tolerance_ns (it
    may have ended so much earlier; only where its end was looked for),
    in_init (true; only where it failed before there was a runtime to give it to),
    memory_mb (or null), command (or null), exit_code (or null), connections, errors,
    chunks (how many items besides this one hold records), kept (false: there are none, by the
    policy), keep (that policy: all, slow, errors, 1/N),
    dropped {name: count, only those above 0; the names of model.Dropped},
    folded {kind: how many were counted but not kept one by one, only those above 0},
    capture [group that was on, ...], unavailable {group: why it is off},
    unseen [what the function used that cannot be seen into, or "overlap": with others, ...],
    cpu [cpu_ns, cpu_wall_ns, runqueue_ns, runqueue_wall_ns] (or null), steal_ns (or null),
    major_faults (or null),
    partition [ns of each part, in the order of model.Part; null where not known] (or null),
    shares [[part, destination or name or path or syscall, ns], ...] (of it, the largest first),
    ending [exit code, signal or 0, out of memory 0 or 1] (or null),
    agent (or null) {cpu_ns and peak_bytes of the agent's process, and, since the summary before:
           after_ns (what followed on a response before the environment could go on), sent_bytes,
           write_units, flushes, retries, spooled and drained (executions)},
    destinations [[host or null, address, port, protocol, connections, errors, bytes_out, bytes_in,
                   time_ns, [connect_ns, ...], reused connections, requests, [wait_us, ...],
                   [tls_us, ...], [dns_us, ...]], ...] (by time, the longest first; times sorted
                   and thinned; a row ends where only zeros and empty arrays would follow, behind
                   the connect times at the earliest),
    destinations_left_out (how many more there were),
    xray [trace id as 32 hex digits, parent's id as 16 or null, 1 sampled, 0 not or null] (only
    where the platform told it, and in the index row alone: it is chance, which cannot be deflated,
    and the summary's item has no room for that within its write units).

Beside executions an environment writes one report of itself, under `env#` and the function's name,
when it wrote: a deflated JSON object of version, memory_mb, machine, calls (agent/confinement.py)
and backends [{name, works, unavailable, or why and advice}, ...], those that were tried.

Older schemas are read. 1: summary and index row are JSON in clear, chunks stand apart. 2: both are
the whole summary, deflated with a dictionary of their own; records stand behind that, transposed.

Used by the agent at cold start: standard library only, no `dataclasses`, no `typing`.
"""

from __future__ import annotations

import struct
import time
import zlib

from lambdatrace import columns, plain_json, wire
from lambdatrace.errors import CorruptItemError, NewerSchemaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    Row = tuple[Any, ...]

SCHEMA_VERSION = 3
_OF_NONE = -1  # the schema of what no version has written

SUMMARY = "summary"
CHUNK = "chunk"
INDEX = "index"
REPORT = "report"

# DynamoDB refuses items above 400 kB (its documented limit, names and keys included); the margin
# leaves room for both.
MAX_BODY_BYTES = 350_000
# A chunk never claims more than this, so that a corrupt count cannot make a reader allocate
# without bound: 16,384 connection records are 2.4 MB.
MAX_CHUNK_RECORDS = 16_384
MAX_SUMMARY_BYTES = 350_000
# Up to here (bytes of records and details) an execution is packed as one piece; above it, each kind
# by itself costs little more, and an item's limit has to be looked at.
MAX_SECTIONS_BYTES = 65_535

# What a summary's item does not hold: its key says it, or its index row alone does.
_INDEX_ONLY = ("execution_id", "started_ns", "xray")

INDEX_SHARDS = 8
INDEX_PREFIX = "idx#"  # of the hash keys of index rows; no execution has such an id
REPORT_PREFIX = "env#"  # of the hash keys of environments' reports, before the function's name
HOUR_NS = 3_600_000_000_000
TIE_DIGITS = 9

_MAGIC = b"LTr1"
_HEADER = struct.Struct("<4sBxHI")
_SECTIONS_MAGIC = b"LTr2"
_SECTIONS_HEADER = struct.Struct("<4sB")  # mark, number of sections
_SECTION = struct.Struct("<BHH")  # kind, record size, count
# By schema; what is deflated behind it says itself where it ends.
_SUMMARY_MAGICS = {2: b"LTs2", 3: b"LTs3"}
# All of a stream: the summary, the details, and columns with their texts.
_MAX_STREAM_BYTES = MAX_SUMMARY_BYTES + 3 * MAX_SECTIONS_BYTES

# What deflating starts from: part of each schema, never to be changed. The likeliest comes last.
_DICTIONARY_2 = (
    b'"NOERROR",0,["NXDOMAIN""AAAA","127.0.0.1","{"lookups":[],"hosts":{},"tls":{},"processes":['
    b'"1.3",""],"crash""timeout""unfinished""error""extension""process""syscalls"'
    b',"cpu":null,"memory_mb":128,"status":"ok","cold_start":true,"dropped":{"items":'
    b'"spooled":0,"drained":0},'
    b'{"execution_id":"-4","function":"","version":"$LATEST","started_ns":17,"monotonic_ns":,'
    b'"duration_ns":,"status":"ok","cold_start":false,"backend":"ebpf","level":"flows",'
    b'"edges":"kernel","memory_mb":null,"command":null,"exit_code":null,"connections":,"errors":0,'
    b'"dropped":{},"folded":{},"capture":["dns","tls","exchanges","cpu","blocked","processes"],'
    b'"unavailable":{},"unseen":[],"cpu":[],"steal_ns":0,"major_faults":0,"ending":null,'
    b'"kept":true,"keep":"all","agent":{"cpu_ns":,"peak_bytes":,"after_ns":,"sent_bytes":,'
    b'"write_units":3,"flushes":1,"retries":0,"spooled":0,"drained":0},"destinations":'
    b'[[null,".amazonaws.com",443,"tcp",1,0,]],"destinations_left_out":0,"chunks":0}'
)
_DICTIONARY_3 = (
    b'"crash""timeout""unfinished""error""extension""process""syscalls""preload""io_uring"'
    b'"threads":"connections":"sockets":"records":"gaps":1"forged":"events":"executions":1,"items":'
    b'"unavailable":{"blocked":"exchanges":"texts":"ending":[0,9,0]null,11,0],"command":"python3 '
    b'"memory_mb":256512,10242048"cold_start":true"kept":false"keep":"slow""errors""1/100"'
    b'"NXDOMAIN""SERVFAIL",["2600:10.0.172.31.192.168.52.94.3.5.127.0.0.1"],null,".com",5432,63799'
    b'kafka.redis.mysql.postgres.internal"lambda.sns.sqs.s3.dynamodb.us-east-1.eu-west-1.amazonaws'
    b'.com",80,"tcp",1,0,53,"udp",1,0,443,"tcp",1,0,],[null,"169.254.'
    b"\0\5\4\0\0\0\0\7\7python3\4node\x06tokio-\x0ebootstrap\x01\xb8\0\x06P\0\x07\x90\0"
    b'{"lookups":[["","A","169.254.78.1",,1,"NOERROR",0,["","AAAA","'
    b'}"hosts":{"1":"","2":"","3":"","4":""},"tls":{"1":["","1.3",""],"2":["","1.2",""]},'
    b'"processes":[]}\0'
    b'{"execution_id":"-4","function":"","version":"$LATEST","started_ns":17,"monotonic_ns":,'
    b'"duration_ns":,"status":"ok","cold_start":false,"backend":"ebpf","level":"flows",'
    b'"edges":"kernel","memory_mb":128,"command":null,"exit_code":null,"connections":,"errors":0,'
    b'"dropped":{},"folded":{},"capture":["dns","tls","exchanges","cpu","blocked","processes"],'
    b'"unavailable":{},"unseen":[],"cpu":[],"steal_ns":0,"major_faults":0,"partition":['
    b'null,null,0,0,0,0,0,0,],"shares":[["steal","runqueue","cpu","lock","sleep","file","transfer",'
    b'"tls","connect","dns","other",""],["wait",":443",]],"ending":null,'
    b'"agent":{"cpu_ns":1,"peak_bytes":18,"after_ns":,"sent_bytes":,"write_units":3,"flushes":1,'
    b'"retries":0,"spooled":0,"drained":0},"destinations":[["'
    b']],"destinations_left_out":0,"kept":true,"keep":"all","chunks":0}\0'
)
DICTIONARIES = {2: _DICTIONARY_2, 3: _DICTIONARY_3}
# To be copied: that takes less than making one.
_INFLATE = zlib.decompressobj(zdict=_DICTIONARY_3)


class Item:
    """One stored item. `timestamp_nano` is ns since the epoch, `expires_at` s since the epoch.

    `glance` is what its store has noted of an index row, if anything: function, status, times taken
    (glance.py). It says nothing that the body does not.
    """

    __slots__ = (
        "body", "execution_id", "expires_at", "glance", "kind", "schema", "tie", "timestamp_nano",
    )  # fmt: skip

    def __init__(
        self,
        execution_id: str,
        timestamp_nano: int,
        tie: int,
        kind: str,
        body: bytes,
        expires_at: int,
        schema: int = SCHEMA_VERSION,
    ) -> None:
        self.execution_id = execution_id
        self.timestamp_nano = timestamp_nano
        self.tie = tie
        self.kind = kind
        self.body = body
        self.expires_at = expires_at
        self.schema = schema
        self.glance: tuple[str, str, bytes] | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes the item unique in its store."""
        return (self.execution_id, self.timestamp_nano, self.tie)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and row_of(self) == row_of(other)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Item({self.kind} {self.key} schema={self.schema} {len(self.body)} bytes)"


# A row is an item's fields as a plain tuple: execution_id, timestamp_nano, tie, kind, schema,
# expires_at, body. Where there are very many, no items are made of them.
_ROW_TYPES = (str, int, int, str, int, int, bytes)


def item_of(row: Row) -> Item:
    """A row as an item. Raises CorruptItemError for values of a wrong type."""
    item = item_or_refused(row)
    if item.schema == _OF_NONE:
        check_schema(item)
    return item


def item_or_refused(row: Row) -> Item:
    """A row as an item; with values of a wrong type as one that `check_schema` refuses.

    One such row is not to hide the others of its store.
    """
    if len(row) == len(_ROW_TYPES) and all(map(isinstance, row, _ROW_TYPES)):
        execution_id, timestamp_nano, tie, kind, schema, expires_at, body = row
        return Item(execution_id, timestamp_nano, tie, kind, body, expires_at, schema)
    timestamp_nano, tie = (each if isinstance(each, int) else 0 for each in row[1:3])
    return refused(str(row[0]), timestamp_nano, tie)


def refused(execution_id: str, timestamp_nano: int, tie: int) -> Item:
    """In place of what stands under a key of the index and is no item: see `check_schema`."""
    return Item(execution_id, timestamp_nano, tie, INDEX, b"", 0, _OF_NONE)


def row_of(item: Item) -> Row:
    """The item as a row."""
    return (*item.key, item.kind, item.schema, item.expires_at, item.body)


def make_report(function: str, written_ns: int, report: Mapping[str, Any], expires: int) -> Item:
    """An environment's report of itself; `written_ns` since the epoch, `expires` s since then."""
    body = zlib.compress(plain_json.dumps(report, ascii_only=True).encode(), 9)
    return Item(report_key(function), written_ns, 0, REPORT, body, expires)


def report_key(function: str) -> str:
    """The hash key of a function's environments' reports."""
    return REPORT_PREFIX + function


def read_report(item: Item) -> dict[str, Any]:
    """What a report says. Raises CorruptItemError."""
    text, _ = _inflate(item.body, 0, MAX_SUMMARY_BYTES)
    try:
        report = plain_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptItemError("an environment's report is not JSON") from error
    if item.kind != REPORT or not isinstance(report, dict):
        raise CorruptItemError("an environment's report is not an object")
    return report


def pack_records(kind: int, size: int, data: bytes) -> bytes:
    """`data` (whole records of `size` bytes) as the body of one chunk."""
    count, rest = divmod(len(data), size)
    if rest:
        raise ValueError(f"{len(data)} bytes are not whole records of {size}")
    transposed = b"".join([data[column::size] for column in range(size)])
    return _HEADER.pack(_MAGIC, kind, size, count) + zlib.compress(transposed, 6)


def unpack_records(body: bytes) -> tuple[int, int, bytes]:
    """The body of a chunk of one kind as (record kind, record size in bytes, records back to back).

    Raises CorruptItemError on anything that `pack_records` did not write; never allocates more
    than `MAX_CHUNK_RECORDS` records.
    """
    if len(body) < _HEADER.size:
        raise CorruptItemError("an event chunk is cut short")
    magic, kind, size, count = _HEADER.unpack_from(body)
    if magic != _MAGIC:
        raise CorruptItemError("an event chunk does not begin with lambdatrace's mark")
    if count > MAX_CHUNK_RECORDS or size != CHUNK_RECORDS.get(kind):
        raise CorruptItemError("an event chunk claims records of an impossible number or size")
    total = count * size
    transposed, _ = _inflate(body[_HEADER.size :], total, total)
    return kind, size, _rows(transposed, size, count)


def _read_sections_2(body: bytes) -> dict[int, bytes]:
    """What stands behind a summary of schema 2. Raises CorruptItemError."""
    if body[: len(_SECTIONS_MAGIC)] != _SECTIONS_MAGIC:
        raise CorruptItemError("records do not begin with lambdatrace's mark")
    try:
        _, number = _SECTIONS_HEADER.unpack_from(body)
    except struct.error as error:
        raise CorruptItemError("an item is cut short") from error
    begin = _SECTIONS_HEADER.size
    heads = _read_heads(body[begin:], number)
    total = sum(size * count for _, size, count in heads)
    transposed, _ = _inflate(body[begin + _SECTION.size * number :], total, total, _DICTIONARY_2)
    found, at = {}, 0
    for kind, size, count in heads:
        found[kind] = _rows(transposed[at : at + size * count], size, count)
        at += size * count
    return found


def _read_heads(heads: bytes, number: int) -> list[tuple[int, int, int]]:
    """So many (kind, record size, count). Raises CorruptItemError if they cannot be true."""
    try:
        found = [_SECTION.unpack_from(heads, _SECTION.size * n) for n in range(number)]
    except struct.error as error:
        raise CorruptItemError("an item is cut short") from error
    total = sum(size * count for _, size, count in found)
    if total > MAX_SECTIONS_BYTES or any(
        size != CHUNK_RECORDS.get(kind) for kind, size, _ in found
    ):
        raise CorruptItemError("an item claims records of an impossible number or size")
    return found


def _pack_columns(contents: Mapping[int, bytes], start: int) -> tuple[bytes, bytes]:
    """(what stands behind a summary in its stream, what stands behind that) for few records."""
    heads, streams, lower = [], [], []
    for kind, data in contents.items():
        if kind == wire.KIND_DETAILS:
            continue
        layout = _LAYOUTS[kind]
        heads.append(_SECTION.pack(kind, layout.SIZE, len(data) // layout.SIZE))
        stream, rest = columns.pack(layout, data, start)
        streams.append(stream)
        lower.append(rest)
    details = contents.get(wire.KIND_DETAILS, b"")
    parts = [b"\0", details, b"\0", bytes([len(heads)]), *heads, *streams]
    return b"".join(parts), b"".join(lower)


def _details_text(details: dict[str, Any]) -> bytes:
    return plain_json.dumps(details, ascii_only=True).encode()


# Of details: what has a start and an end, 0 or null where there was none, in these places.
_SPANS = ("lookups", "processes")
_BEGAN, _ENDED = 3, 4


def _near_details(details: dict[str, Any], start: int) -> dict[str, Any]:
    """Details with each start relative to `start`, each end to its start."""
    near = dict(details)
    for name in _SPANS:
        if name in details:
            near[name] = rows = [list(row) for row in details[name]]
            for row in rows:
                row[_ENDED] = row[_ENDED] - row[_BEGAN] if row[_ENDED] else None
                row[_BEGAN] -= start
    return near


def _far_details(text: bytes, start: int) -> bytes:
    """The text of details whose times are on the records' clock again. Raises CorruptItemError."""
    details = read_details(text)
    try:
        for name in _SPANS:
            for row in details.get(name, ()):
                row[_BEGAN] += start
                row[_ENDED] = 0 if row[_ENDED] is None else row[_BEGAN] + row[_ENDED]
    except (TypeError, LookupError, OverflowError) as error:
        raise CorruptItemError("the details of an execution are not what they should be") from error
    return _details_text(details) if details else b""


def _read_columns(stream: bytes, lower: bytes, start: int) -> dict[int, bytes]:
    """What `_pack_columns` packed, without the first NUL. Raises CorruptItemError."""
    details, _, rest = stream.partition(b"\0")
    heads = _read_heads(rest[1:], rest[0] if rest else 0)
    reader = columns.Reader(rest[1 + _SECTION.size * len(heads) :], lower, start)
    found = {wire.KIND_DETAILS: _far_details(details, start)}
    try:
        for kind, _, count in heads:
            found[kind] = reader.unpack(_LAYOUTS[kind], count)
    except (ValueError, KeyError) as error:
        raise CorruptItemError(f"the records of an item cannot be read: {error}") from error
    if not rest or not reader.is_at_end:
        raise CorruptItemError("an item is not as long as it says")
    return found


def _rows(transposed: bytes, size: int, count: int) -> bytes:
    data = bytearray(size * count)
    for column in range(size):
        data[column::size] = transposed[column * count : (column + 1) * count]
    return bytes(data)


def _deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY_3)
    return deflate.compress(data) + deflate.flush()


def _inflate(data: bytes, least: int, most: int, dictionary: bytes = b"") -> tuple[bytes, bytes]:
    """(what is deflated at the beginning of `data`, what stands behind it).

    Never allocates more than `most` bytes. Raises CorruptItemError.
    """
    inflate = zlib.decompressobj(zdict=dictionary)
    try:
        found = inflate.decompress(data, most + 1)
    except zlib.error as error:
        raise CorruptItemError("an item cannot be inflated") from error
    if not least <= len(found) <= most or not inflate.eof:
        raise CorruptItemError("an item is not as long as it says")
    return found, inflate.unused_data


# The kinds of records and their layouts, in the order they are written.
_LAYOUTS: dict[int, type[wire.Record]] = {
    wire.KIND_CONNECTION: wire.ConnectionRecord,
    wire.KIND_EXCHANGE: wire.ExchangeRecord,
    wire.KIND_BLOCKED: wire.BlockedRecord,
    wire.KIND_PAUSE: wire.PauseRecord,
    wire.KIND_SYSCALL: wire.SyscallRecord,
}
# The size of what a chunk holds. Details are text: their records are its bytes.
CHUNK_RECORDS = {kind: layout.SIZE for kind, layout in _LAYOUTS.items()} | {wire.KIND_DETAILS: 1}


def chunk_bodies(kind: int, size: int, data: bytes) -> Iterator[bytes]:
    """Records split into as many chunk bodies as the item limit asks for."""
    step = MAX_CHUNK_RECORDS * size
    for begin in range(0, len(data), step):
        yield from _halve_until_small(kind, size, data[begin : begin + step])


def _halve_until_small(kind: int, size: int, data: bytes) -> Iterator[bytes]:
    body = pack_records(kind, size, data)
    if len(body) <= MAX_BODY_BYTES:
        yield body
        return
    middle = len(data) // size // 2 * size
    yield from _halve_until_small(kind, size, data[:middle])
    yield from _halve_until_small(kind, size, data[middle:])


def index_bucket(timestamp_nano: int, shard: int) -> str:
    """The hash key of the index rows of one hour (UTC) and shard."""
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(timestamp_nano // 1_000_000_000))
    return f"{INDEX_PREFIX}{hour}#{shard}"


def index_buckets(since_ns: int, until_ns: int) -> Iterator[str]:
    """Every index hash key that can hold an execution begun in [since, until], newest first."""
    hour = until_ns // HOUR_NS
    while hour >= since_ns // HOUR_NS:
        for shard in range(INDEX_SHARDS):
            yield index_bucket(hour * HOUR_NS, shard)
        hour -= 1


def make_items(
    summary: dict[str, Any],
    records: Mapping[int, bytes],
    expires_at: int,
    details: dict[str, Any] | None = None,
    packed: Iterable[bytes] = (),
) -> list[Item]:
    """All items of one execution, in the order they must be written.

    `records` are those of each kind (wire.KIND_*), back to back; `packed` are chunk bodies that
    were made before. `summary` has at least `execution_id` and `started_ns` (ns since the epoch);
    `chunks` is filled in. The index row comes last: who finds an execution there finds everything
    else, too.
    """
    execution_id, started = summary["execution_id"], summary["started_ns"]
    contents = dict(records)
    if details and any(details.values()):
        contents[wire.KIND_DETAILS] = _details_text(details)
    contents = {kind: contents[kind] for kind in CHUNK_RECORDS if contents.get(kind)}
    bodies: list[bytes] = []
    if sum(map(len, contents.values())) > MAX_SECTIONS_BYTES:
        bodies = [
            body
            for kind, data in contents.items()
            for body in chunk_bodies(kind, CHUNK_RECORDS[kind], data)
        ]
        contents = {}
    elif details and wire.KIND_DETAILS in contents:
        near = _near_details(details, summary.get("monotonic_ns", 0))
        contents[wire.KIND_DETAILS] = _details_text(near)
    bodies += packed
    items = [
        Item(execution_id, started, number, CHUNK, body, expires_at)
        for number, body in enumerate(bodies, 1)
    ]
    return items + summary_items({**summary, "chunks": len(bodies)}, expires_at, contents)


def summary_items(
    summary: dict[str, Any], expires_at: int, contents: Mapping[int, bytes] | None = None
) -> list[Item]:
    """The summary, with a few records in its own item, and its index row.

    Written again, they replace what was there.
    """
    execution_id, started = summary["execution_id"], summary["started_ns"]
    own = {name: value for name, value in summary.items() if name not in _INDEX_ONLY}
    stream = lower = b""
    if contents:
        own.pop("destinations", None)
        stream, lower = _pack_columns(contents, summary.get("monotonic_ns", 0))
    mark = _SUMMARY_MAGICS[SCHEMA_VERSION]
    body = mark + _deflate(_encoded(own) + stream) + lower
    digest = zlib.crc32(execution_id.encode())
    # Independent digits for shard and tie, or a shard would only see an eighth of the ties.
    shard, tie = digest % INDEX_SHARDS, digest // INDEX_SHARDS % 10**TIE_DIGITS
    bucket = index_bucket(started, shard)
    return [
        Item(execution_id, started, 0, SUMMARY, body, expires_at),
        Item(bucket, started, tie, INDEX, mark + _deflate(_encoded(summary)), expires_at),
    ]


def _encoded(summary: dict[str, Any]) -> bytes:
    # A command line that is not UTF-8 comes as lone surrogates: backslashreplace makes JSON's own
    # escapes of them.
    text = plain_json.dumps(summary)
    return text.encode("utf-8", "backslashreplace")


def read_summary(item: Item) -> dict[str, Any]:
    """The summary in a summary or index item; that of one with records has no `destinations`.

    Raises NewerSchemaError or CorruptItemError, in words for the user.
    """
    text, records = _summary_parts(item)
    try:
        summary = plain_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptItemError(f"the summary of {_owner(item.execution_id)} is not JSON") from error
    if not isinstance(summary, dict):
        raise CorruptItemError(f"the summary of {_owner(item.execution_id)} is not an object")
    if item.kind == SUMMARY and item.schema >= 3:
        left_out = {"execution_id": item.execution_id, "started_ns": item.timestamp_nano}
        return {**left_out, **({"destinations": []} if records else {}), **summary}
    return summary


def summary_text(item: Item) -> bytes:
    """The JSON in a summary or index item. Raises NewerSchemaError or CorruptItemError."""
    return _summary_parts(item)[0]


def row_text(row: Row) -> bytes:
    """The JSON in an index row. Raises NewerSchemaError or CorruptItemError."""
    timestamp_nano, schema, body = row[1], row[4], row[6]
    mark = _SUMMARY_MAGICS[SCHEMA_VERSION]
    # The usual case in a third of the time: there are very many.
    if schema == SCHEMA_VERSION and type(body) is bytes and type(timestamp_nano) is int:
        inflate = _INFLATE.copy()
        try:
            text = inflate.decompress(body[len(mark) :], MAX_SUMMARY_BYTES + 1)
        except zlib.error:
            text = b"\0"
        whole = body[: len(mark)] == mark and inflate.eof
        if whole and len(text) <= MAX_SUMMARY_BYTES and b"\0" not in text:
            return text
    return summary_text(item_of(row))


def _summary_parts(item: Item) -> tuple[bytes, bytes]:
    """(JSON, what follows in its stream)."""
    check_schema(item)
    text, records = item.body, b""
    if item.schema > 1:
        text, records, _ = _split_summary(item)
    if len(text) > MAX_SUMMARY_BYTES:
        raise CorruptItemError(f"the summary of {_owner(item.execution_id)} is too large")
    return text, records


def _split_summary(item: Item) -> tuple[bytes, bytes, bytes]:
    """(JSON, what follows in its stream, what stands behind that). Raises CorruptItemError."""
    mark = _SUMMARY_MAGICS[item.schema]
    if item.body[: len(mark)] != mark:
        owner = _owner(item.execution_id)
        raise CorruptItemError(f"the summary of {owner} is not one of lambdatrace")
    stream, behind = _inflate(
        item.body[len(mark) :], 0, _MAX_STREAM_BYTES, DICTIONARIES[item.schema]
    )
    text, _, rest = stream.partition(b"\0")
    return text, rest, behind


def _inline_records(item: Item) -> dict[int, bytes]:
    """The records in a summary's own item, by kind. Raises CorruptItemError."""
    _, stream, behind = _split_summary(item)
    if item.schema == 2:
        return _read_sections_2(behind) if behind else {}
    if not stream and not behind:
        return {}
    start = read_summary(item).get("monotonic_ns", 0)
    if type(start) is not int:
        raise CorruptItemError(f"the summary of {item.execution_id!r} does not say when it began")
    return _read_columns(stream, behind, start)


def read_chunks(items: Iterable[Item]) -> dict[int, bytes]:
    """The records of an execution's items by kind (wire.KIND_*), each in order.

    Raises CorruptItemError or NewerSchemaError.
    """
    found: dict[int, list[bytes]] = {kind: [] for kind in CHUNK_RECORDS}
    for item in sorted(items, key=lambda item: item.key):
        inside: dict[int, bytes] = {}
        if item.kind == CHUNK:
            check_schema(item)
            kind, _, data = unpack_records(item.body)
            inside = {kind: data}
        elif item.kind == SUMMARY:
            check_schema(item)
            inside = _inline_records(item) if item.schema > 1 else {}
        for kind, data in inside.items():
            found[kind].append(data)
    return {kind: b"".join(parts) for kind, parts in found.items()}


def read_details(text: bytes) -> dict[str, Any]:
    """The details of an execution from its chunk of them; empty if none were stored.

    Raises CorruptItemError.
    """
    if not text:
        return {}
    try:
        details = plain_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptItemError("the details of an execution are not JSON") from error
    if not isinstance(details, dict):
        raise CorruptItemError("the details of an execution are not an object")
    return details


def check_schema(item: Item) -> None:
    """Refuse, in words, what this version cannot read."""
    if item.schema > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{_owner(item.execution_id)} was written with schema {item.schema}, "
            f"this lambdatrace reads up to {SCHEMA_VERSION}",
            "upgrade it: pip install --upgrade lambdatrace",
        )
    if item.schema < 1:
        is_one = item.schema != _OF_NONE
        what = f"schema {item.schema}" if is_one else "a value of a wrong type"
        raise CorruptItemError(f"an item of {_owner(item.execution_id)} has {what}")


def _owner(execution_id: str) -> str:
    """Whose an item is, in words: a row of the index stands under its hour."""
    if execution_id.startswith(INDEX_PREFIX):
        return "an execution"
    return f"execution {execution_id!r}"
