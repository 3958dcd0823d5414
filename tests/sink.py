# SPDX-License-Identifier: Apache-2.0
"""Another mail server for tests: takes mail on loopback and answers as it is told."""
import base64
import re
import threading

from posthouse import command, equal, serve_with, smtp


class Sink:
    """answers: {address or "data" or "mail": [reply, ...]}; each is used once, then all is well.
    A reply of "drop" closes the connection, "late" closes it after the message was taken."""

    def __init__(self, answers=None, extensions=("PIPELINING", "8BITMIME"), port=0):
        self.answers, self.extensions = answers or {}, extensions
        self.lock, self.messages, self.connections, self.lines = threading.Lock(), [], 0, []
        self.server = serve_with(self.session, port)
        self.port = self.server.server_address[1]

    def answer(self, what, usual):
        with self.lock:
            said = self.answers.get(what)
            return said.pop(0) if said else usual

    def session(self, h):
        def say(text):
            h.wfile.write(text.encode() + b"\r\n")

        with self.lock:
            self.connections += 1
        sender, to = None, []
        say("220 sink.test ESMTP")
        while True:
            line = h.rfile.readline().decode("utf-8", "replace")
            if not line:
                return
            self.lines.append(line)
            verb = line[:4].upper()
            reply = "250 2.0.0 OK"
            if verb == "EHLO":
                reply = "\r\n".join(["250-sink.test"] + [f"250-{e}" for e in self.extensions]
                                    + ["250 HELP"])
            elif verb == "MAIL":
                sender, to = re.search("<(.*?)>", line).group(1), []
                reply = self.answer("mail", reply)
            elif verb == "RCPT":
                address = re.search("<(.*?)>", line).group(1)
                reply = self.answer(address, reply)
                if reply.startswith("2"):
                    to.append(address)
            elif verb == "DATA":
                if not to:
                    say("554 5.5.1 no recipients")
                    continue
                say("354 go on")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    piece = h.rfile.readline()
                    if not piece:
                        return
                    data += piece
                reply = self.answer("data", reply)
                if reply.startswith("2") or reply == "late":
                    with self.lock:
                        self.messages.append((sender, to, data[:-3]))
            elif verb == "BDAT":
                data = h.rfile.read(int(line.split()[1]))
                reply = self.answer("data", reply)
                if reply.startswith("2"):
                    with self.lock:
                        self.messages.append((sender, to, data))
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            if reply in ("drop", "late"):
                return
            say(reply)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


SET = ["--set", "relay.private_addresses=yes", "--set", "queue.retry_first=1s",
       "--set", "queue.retry_max=2s"]


def route(server, match, action, *more):
    command("route", "add", match, action, *more, "--data=" + server.info["store"])


def submission(server, i=0):
    """A signed-in connection to the submission port."""
    wire = smtp(server, "submission")
    secret = f"\0{server.address(i)}\0{server.password(i)}".encode()
    equal(wire.ask("AUTH PLAIN " + base64.b64encode(secret).decode())[0], 235, "AUTH")
    equal(wire.ask("EHLO client.example.test")[0], 250, "EHLO")
    return wire
