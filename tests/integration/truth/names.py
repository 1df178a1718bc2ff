"""The name server behind dnsmasq, for answers that take their time: `names.py PORT IPV4 IPV6`.

It answers on 127.0.0.1 and says "ready". A label of a name may be words joined by "-": `late20`
answers after 20 ms, `servfail` and `nxdomain` with that code.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading

A, AAAA = 1, 28
CODES = {b"servfail": 2, b"nxdomain": 3}


def reply(query: bytes, addresses: dict[int, bytes]) -> bytes:
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack_from(">H", query, end - 4)
    code = next((code for word, code in CODES.items() if word in query), 0)
    address = b"" if code else addresses.get(kind, b"")
    record = struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(address)) + address if address else b""
    counts = struct.pack(">HHHHH", 0x8180 | code, 1, bool(record), 0, 0)
    return query[:2] + counts + query[12:end] + record


def main() -> None:
    port, ipv4, ipv6 = sys.argv[1:]
    addresses = {
        A: socket.inet_pton(socket.AF_INET, ipv4),
        AAAA: socket.inet_pton(socket.AF_INET6, ipv6),
    }
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", int(port)))
    print("ready", flush=True)
    while True:
        query, peer = s.recvfrom(4096)
        late = re.search(rb"late(\d+)", query)
        delay = int(late[1]) / 1000 if late else 0
        threading.Timer(delay, s.sendto, (reply(query, addresses), peer)).start()


if __name__ == "__main__":
    main()
