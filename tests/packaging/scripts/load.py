"""Submit background jobs one by one until /run/stop-load exists; print each handle, and how often we were refused.

A connection that ends is opened again; a submit that was not answered is not counted.
"""

import os
import socket
import struct
import sys

SUBMIT_JOB_BG = 18
BODY = b"load\0\0workload"
REQUEST = struct.pack(">4sII", b"\0REQ", SUBMIT_JOB_BG, len(BODY)) + BODY


def submit(connection):
    connection.sendall(REQUEST)
    answer = connection.recv(4096)
    if not answer:
        raise ConnectionResetError
    while len(answer) < 12 or len(answer) < 12 + struct.unpack(">I", answer[8:12])[0]:
        answer += connection.recv(4096)
    return answer[12:].decode()


refused = 0
connection = None
while not os.path.exists("/run/stop-load"):
    try:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", 4730), timeout=60)
        print(submit(connection), flush=True)
    except ConnectionRefusedError:
        refused += 1
    except OSError:
        connection.close()
        connection = None
print("refused", refused, file=sys.stderr)
