"""Makes connections, says so, and keeps them until its standard input ends.

Arguments: three ports, of a server that answers, of one that never does, and of a UDP one.
"""

from __future__ import annotations

import socket
import sys

answering, silent, datagrams = map(int, sys.argv[1:])
established = socket.create_connection(("127.0.0.1", answering))
established.sendall(b"12345")
connecting = socket.socket()
connecting.setblocking(False)
connecting.connect_ex(("127.0.0.1", silent))
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.sendto(b"123", ("127.0.0.1", datagrams))
print("ready", flush=True)
sys.stdin.read()
