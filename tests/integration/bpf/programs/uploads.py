"""Uploads by one send that blocks, while another thread reads. Arguments: port, number of bytes."""

from __future__ import annotations

import socket
import sys
import threading

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:

    def read() -> None:
        while s.recv(100):
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert s.send(bytes(int(sys.argv[2]))) == int(sys.argv[2])
    reader.join()
