"""Clients that are slow: some send a request byte by byte, some never read what they asked for.

One `step` moves each of them on by a byte; whoever is closed by the server connects again.
"""

import itertools
import socket
import struct

import bodies

HTTP_SENDS, HTTP_NEVER_READS, GRPC_SENDS, GRPC_NEVER_READS = range(4)
KINDS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS, END_STREAM = 4, 1
# Of HPACK's static table: `:method POST`, `:scheme http`, and the names of `:path`, `content-type`.
POST, SCHEME_HTTP, PATH, CONTENT_TYPE = 3, 6, 4, 31
# A connection that is never read sends so many requests in a step, until its socket is full: that
# is soon, with a receive buffer of so many bytes.
EAGER = 4
RECEIVE_BYTES = 2_048


class Clients:
    """So many connections, equally many of each kind; a step of a `disturbances.Disturbance`."""

    def __init__(self, count, slot, rows):
        self.http = http_request(slot, rows)
        self.grpc = grpc_request(slot, rows)
        self.clients = [
            Client(kind) for _, kind in zip(range(count), itertools.cycle(range(KINDS)))
        ]
        self.closed = 0

    def __call__(self, site):
        for client in self.clients:
            try:
                client.move(site, self)
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                self.closed += 1

    def close(self):
        for client in self.clients:
            client.close()


class Client:
    def __init__(self, kind):
        self.kind = kind
        self.socket = None
        self.left = b""

    def move(self, site, clients):
        is_grpc = self.kind in (GRPC_SENDS, GRPC_NEVER_READS)
        request = clients.grpc if is_grpc else clients.http
        if self.socket is None:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            self.socket.settimeout(5)
            self.socket.connect(("127.0.0.1", site.grpc if is_grpc else site.http))
            self.socket.setblocking(False)
            self.left = PREFACE + frame(SETTINGS, 0, 0, b"") if is_grpc else b""
            self.stream = -1
        reads = self.kind in (HTTP_SENDS, GRPC_SENDS)
        for _ in range(1 if reads else EAGER):
            if not self.left:
                self.stream += 2
                self.left = request(self.stream) if is_grpc else request
            self.left = self.left[self.socket.send(self.left[:1] if reads else self.left) :]
        if reads and self.socket.recv(65_536) == b"":
            raise ConnectionResetError

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None


def http_request(slot, rows):
    body = bodies.open_inference(slot, rows)
    head = (
        f"POST /v2/models/{slot}/infer HTTP/1.1\r\nhost: slow\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def grpc_request(slot, rows):
    """A function from the stream's number to the request's two frames."""
    message = bodies.raw(slot, rows)
    prefixed = b"\0" + struct.pack(">I", len(message)) + message
    block = bytes([0x80 | POST, 0x80 | SCHEME_HTTP])
    block += bytes([PATH]) + text(bodies.GRPC_PATH)
    # Names above 14 take a further byte; `te` has none in the table.
    block += bytes([0x0F, CONTENT_TYPE - 15]) + text("application/grpc")
    block += b"\0" + text("te") + text("trailers")

    def request(stream):
        return frame(HEADERS, END_HEADERS, stream, block) + frame(
            DATA, END_STREAM, stream, prefixed
        )

    return request


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    """A literal of HPACK, shorter than 127 bytes."""
    return bytes([len(value)]) + value.encode()
