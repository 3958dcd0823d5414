# SPDX-License-Identifier: Apache-2.0
"""HTTPS servers for tests, on loopback."""
import http.server
import ssl
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """do_GET and its like are the test's."""

    def log_message(self, *_):
        pass

    def answer(self, status, fields, body):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Https:
    """Answers with the handler, on a thread for each connection, until it is closed."""

    def __init__(self, handler, chain, key, port=0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
