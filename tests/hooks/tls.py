"""A webhook behind TLS whose certificate is for 127.0.0.1 and from an authority that nobody knows.

Prints its port and the authority's certificate as one line of JSON; ends when its input does.
"""

import http.server
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


with tempfile.TemporaryDirectory() as folder:
    at = pathlib.Path(folder)
    openssl("req", "-x509", *KEY, "-keyout", at / "ca.key", "-out", at / "ca.pem", "-subj", "/CN=ours")
    openssl("req", *KEY, "-keyout", at / "key", "-out", at / "request", "-subj", "/CN=hook")
    (at / "names").write_text("subjectAltName = IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", at / "request", "-CA", at / "ca.pem", "-CAkey", at / "ca.key",
            "-CAcreateserial", "-extfile", at / "names", "-out", at / "cert")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at / "cert", at / "key")
    authority = (at / "ca.pem").read_text()


class Server(http.server.ThreadingHTTPServer):
    # A connection's handshake is its own thread's.
    def finish_request(self, request, address):
        try:
            with context.wrap_socket(request, server_side=True) as stream:
                Hook(stream, address, self)
        except ssl.SSLError:
            pass  # Refused by the client: what the tests are about.


server = Server(("127.0.0.1", 0), Hook)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_port, "authority": authority}), flush=True)
sys.stdin.read()
