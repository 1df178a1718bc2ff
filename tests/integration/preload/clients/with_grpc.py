"""gRPC's C core: `with_grpc.py serve` prints its port, `with_grpc.py TARGET COUNT` calls it.

Messages are bytes as they are: no generated code is needed.
"""

from __future__ import annotations

import hashlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICE = "Echo"
WORKERS = 8


def say_back(message: bytes, context: grpc.ServicerContext) -> bytes:
    if message == b"slow":
        time.sleep(1)
    if message.startswith(b"refuse"):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "as asked for")
    return message[::-1]


def say_much(messages: object, _: grpc.ServicerContext) -> object:
    for message in messages:  # type: ignore[attr-defined]
        for at in range(3):
            yield message * (at + 1)


def serve() -> None:
    server = grpc.server(ThreadPoolExecutor(WORKERS * 4))
    methods = {
        "One": grpc.unary_unary_rpc_method_handler(say_back),
        "Many": grpc.stream_stream_rpc_method_handler(say_much),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()


def told(body: bytes) -> str:
    return f"{len(body)} {hashlib.sha256(body).hexdigest()[:16]}"


def main(target: str, count: int) -> None:
    with grpc.insecure_channel(target) as channel:
        one = channel.unary_unary(f"/{SERVICE}/One")
        many = channel.stream_stream(f"/{SERVICE}/Many")

        def ask(number: int) -> str:
            try:
                if number % 100 == 50:
                    return told(one(b"slow", timeout=0.2))
                if number % 10 == 0:
                    return told(one(b"refuse %d" % number, timeout=20))
                if number % 10 == 5:
                    sent = (b"%d" % each * 50 for each in range(number % 30 + 1))
                    return told(b"".join(many(sent, timeout=20)))
                return told(one(b"%d" % number * (number % 4000 + 1), timeout=20))
            except grpc.RpcError as error:
                return f"error {error.code().name}"

        with ThreadPoolExecutor(WORKERS) as pool:
            for line in pool.map(ask, range(count)):
                print(line)


if sys.argv[1] == "serve":
    serve()
else:
    main(sys.argv[1], int(sys.argv[2]))
