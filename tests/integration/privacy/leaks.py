"""Takes secrets everywhere a program takes them: python leaks.py reads {secrets, places} as JSON.

`secrets` are texts by where they go. `places`: `address` with a web server on `http`, one with TLS
on `tls`, an echo of datagrams on `udp` and a resolver on port 53; `name`, a label that may be seen;
`folder`, an empty one.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SLOWLY = 0.05  # s
TXT = 16


def everything(secrets: dict[str, str], places: dict[str, Any]) -> None:
    datagrams(secrets, places)
    resolver(secrets, places)
    web(secrets, places)
    tls(secrets, places)
    hello_by_hand(secrets, places)
    files(secrets, places)
    processes(secrets)


def datagrams(secrets: dict[str, str], places: dict[str, Any]) -> None:
    target = (places["address"], places["udp"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(secrets["udp"].encode(), target)
        s.recvfrom(65536)
        s.sendmsg([secrets["udp"].encode()], [], 0, target)
        s.recvmsg(65536)
        s.connect(target)
        s.send(secrets["udp"].encode())
        s.recv(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # no DNS, but on its port
        s.sendto(secrets["udp"].encode(), (places["address"], 53))


def resolver(secrets: dict[str, str], places: dict[str, Any]) -> None:
    """Ask for an address, and for texts over UDP and TCP."""
    where = (places["address"], 53)
    for prefix, kind in ((b"api", 1), (b"txt", TXT)):
        name = b"".join(
            bytes((len(label),)) + label for label in (prefix, places["name"].encode(), b"example")
        )
        query = struct.pack(">HHHHHH", kind, 0x100, 1, 0, 0, 0) + name + b"\0\0" + bytes((kind,))
        query += b"\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(where)
            s.send(query)
            answer = s.recv(65536)
        with socket.create_connection(where) as s:
            s.sendall(struct.pack(">H", len(query)) + query)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        assert kind != TXT or secrets["txt"].encode()[:100] in answer


def web(secrets: dict[str, str], places: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(places["address"], places["http"])
    for _ in range(2):
        connection.request(
            "POST",
            f"/{secrets['http_path']}?token={secrets['http_query']}",
            secrets["http_body"],
            {"Authorization": f"Bearer {secrets['http_header']}", "X-Host": places["name"]},
        )
        assert secrets["http_answer"].encode() in connection.getresponse().read()
    connection.close()


def tls(secrets: dict[str, str], places: dict[str, Any]) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([secrets["alpn"]])  # in clear, and nobody's business
    with (
        socket.create_connection((places["address"], places["tls"])) as plain,
        context.wrap_socket(plain, server_hostname=f"tls.{places['name']}.example") as s,
    ):
        s.sendall(secrets["tls"].encode())
        assert s.recv(65536) == secrets["tls_answer"].encode()


def hello_by_hand(secrets: dict[str, str], places: dict[str, Any]) -> None:
    """A ClientHello with a secret in every field but the server's name, and one behind it."""
    text = secrets["hello"].encode()
    host = f"hand.{places['name']}.example".encode()
    names = struct.pack(">HBH", len(host) + 3, 0, len(host)) + host
    extensions = b"".join(
        struct.pack(">HH", kind, len(data)) + data
        for kind, data in ((0xFF01, text[:40]), (0, names), (16, text[40:90]), (41, text[90:]))
    )
    body = b"\3\3" + text[:32] + b"\x20" + text[32:64] + b"\0\x20" + text[64:96] + b"\1\0"
    body += struct.pack(">H", len(extensions)) + extensions
    message = struct.pack(">I", 1 << 24 | len(body)) + body
    with socket.create_connection((places["address"], places["http"])) as s:
        s.sendall(b"\x16\3\1" + struct.pack(">H", len(message)) + message)
        s.sendall(b"\x16\3\3" + struct.pack(">H", len(text)) + text)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass


def files(secrets: dict[str, str], places: dict[str, Any]) -> None:
    """Contents written through to the disk, and some that come slowly."""
    folder = Path(places["folder"])
    for _ in range(20):
        with (folder / f"{places['name']}.file").open("w") as file:
            file.write(secrets["file"])
            file.flush()
            os.fsync(file.fileno())
    assert (folder / f"{places['name']}.file").read_text() == secrets["file"]
    slow = folder / f"{places['name']}.fifo"
    os.mkfifo(slow)

    def write() -> None:
        time.sleep(SLOWLY)  # the other side waits in open(),
        with slow.open("w") as file:
            time.sleep(SLOWLY)  # and then in read()
            file.write(secrets["fifo"])

    writer = threading.Thread(target=write)
    writer.start()
    assert slow.read_text() == secrets["fifo"]
    writer.join()


def processes(secrets: dict[str, str]) -> None:
    """Arguments, standard streams and the environment."""
    assert os.environ["PRIVATE"] == secrets["environment"]
    child = "import sys, time; text = sys.stdin.read(); time.sleep(0.01); print(text, sys.argv)"
    ran = subprocess.run(
        [sys.executable, "-c", child, secrets["argument"]],
        input=secrets["pipe"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert secrets["pipe"] in ran.stdout
    print(secrets["stdout"], flush=True)


if __name__ == "__main__":
    everything(**json.load(sys.stdin))
