# SPDX-License-Identifier: Apache-2.0
"""A mail host that answers as it is told, on an address of its own (tests/internet.py): for each
step a list of acts, one for each time; when the list is empty the answer is the usual one.

Steps: connect, ehlo, starttls, mail, rcpt, data, final, quit. An act is bytes (sent instead of the
usual answer) or a function of the session that returns False to close the connection."""
import re
import socket
import ssl
import threading
import time

from internet import inside

PATIENCE_S = 30  # for a client that does nothing; every test expects less


def close(_):
    return False


def reset(session):
    """RST instead of FIN."""
    session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return False


def silent(session):
    """Says nothing until the client has gone."""
    while session.receive():
        pass
    return False


def drip(session):
    """A reply that grows by a byte now and then and never ends."""
    for byte in b"250-" + b"a" * 300:
        session.send(bytes([byte]))
        if not session.pause(.1):
            break
    return False


def endless(session):
    """Lines of one reply without end."""
    for _ in range(200000):
        session.send(b"250-and one more\r\n" * 50)
    return False


def long_line(session):
    """One line without end."""
    session.send(b"250 ")
    for _ in range(200000):
        session.send(b"x" * 4096)
    return False


class Session:
    def __init__(self, mx, connection):
        self.mx, self.socket, self.pending = mx, connection, b""
        self.tls, self.held, self.out = False, [], b""
        self.reset()

    def reset(self):
        self.mail, self.to = None, []

    # -- bytes --

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        piece = self.socket.recv(65536)
        self.pending += piece
        return piece

    def pause(self, seconds):
        """False: the client has gone meanwhile."""
        self.socket.settimeout(seconds)
        try:
            return bool(self.receive())
        except (TimeoutError, socket.timeout):
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)

    def line(self):
        while b"\n" not in self.pending:
            if self.out:  # merged replies go out when there is nothing more to answer
                self.send(self.out)
                self.out = b""
            if not self.receive():
                return b""
        line, self.pending = self.pending.split(b"\n", 1)
        return line + b"\n"

    def answer(self, data):
        if self.mx.mode == "merged":
            self.out += data
        elif self.mx.mode == "split":
            for byte in data:
                self.send(bytes([byte]))
                time.sleep(.001)  # so that each byte is a segment of its own
        else:
            self.send(data)

    def step(self, name, usual):
        act = self.mx.act(name)
        if callable(act):
            if self.out:
                self.send(self.out)
                self.out = b""
            return act(self) is not False
        self.answer(act if act is not None else usual)
        return True

    # -- the conversation --

    def run(self):
        self.socket.settimeout(PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.step("connect", b"220 " + self.mx.name + b" ESMTP\r\n"):
            return
        while True:
            line = self.line()
            if not line:
                return
            self.mx.lines.append(line)
            if not self.command(line):
                return

    def command(self, line):
        verb = line[:4].upper()
        known = {b"EHLO": self.ehlo, b"MAIL": self.do_mail, b"RCPT": self.do_rcpt,
                 b"DATA": self.data, b"STAR": self.starttls}
        if verb in known:
            return known[verb](line)
        if verb == b"RSET":
            self.reset()
        if verb == b"QUIT":
            self.step("quit", b"221 2.0.0 bye\r\n")
            if self.out:
                self.send(self.out)
            return False
        self.answer(b"250 2.0.0 fine\r\n")
        return True

    def ehlo(self, _):
        words = [e.encode() for e in self.mx.extensions]
        if self.mx.context and not self.tls:
            words.append(b"STARTTLS")
        rows = [self.mx.name, *words]
        usual = b"".join(b"250-" + r + b"\r\n" for r in rows[:-1]) + b"250 " + rows[-1] + b"\r\n"
        return self.step("ehlo", usual)

    def starttls(self, _):
        if not self.step("starttls", b"220 2.0.0 go on\r\n"):
            return False
        try:
            self.socket = self.mx.context.wrap_socket(self.socket, server_side=True)
        except (ssl.SSLError, OSError):
            self.mx.tls_failures += 1
            return False
        self.tls, self.pending = True, b""
        return True

    def do_mail(self, line):
        self.reset()
        self.mail = line
        return self.step("mail", b"250 2.1.0 fine\r\n")

    def do_rcpt(self, line):
        self.to.append(re.search(rb"<(.*?)>", line).group(1).decode("utf-8", "replace"))
        return self.step("rcpt", b"250 2.1.5 fine\r\n")

    def data(self, _):
        act = self.mx.act("data")
        if act is not None and not (isinstance(act, bytes) and act.startswith(b"354")):
            if callable(act):
                return act(self) is not False
            self.answer(act)
            return True
        self.answer(act or b"354 go on\r\n")
        if self.mx.gate:
            self.mx.begun.set()
            self.mx.gate.wait(PATIENCE_S)
        if self.out:
            self.send(self.out)
            self.out = b""
        text, self.pending = bytearray(self.pending), b""
        while not text.endswith(b"\r\n.\r\n") and text != b".\r\n":
            if not self.receive():
                return False
            text += self.pending
            self.pending = b""
        return self.end(bytes(text[:-3]))

    def end(self, text):
        act = self.mx.act("final")
        refused = isinstance(act, bytes) and not act.startswith(b"2")
        if not refused and self.mail is not None:
            self.mx.take(self, text)
        if callable(act):
            return act(self) is not False
        self.answer(act if act is not None else b"250 2.0.0 taken\r\n")
        self.reset()
        return True


class FakeMX:
    """mode: "merged" (replies wait until the client waits), "split" (byte by byte) or None.
    gate: an event; no content is read before it. begun: content has been asked for.
    taken: what was taken, of each (MAIL line, recipients, content, over TLS)."""

    def __init__(self, where, address, name="mx.test", extensions=("PIPELINING", "8BITMIME",
                                                                   "SMTPUTF8", "DSN"),
                 context=None, mode=None, gate=None, port=25, **acts):
        self.name, self.extensions, self.context = name.encode(), extensions, context
        self.mode, self.acts = mode, {k: list(v) for k, v in acts.items()}
        self.gate, self.begun, self.lock = gate, threading.Event(), threading.Lock()
        self.taken, self.lines, self.times, self.open = [], [], [], 0
        self.connections = self.tls_failures = 0
        with inside(where):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self.listener = socket.socket(family)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((address, port))
            self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        began = time.monotonic()
        with self.lock:
            self.connections += 1
            self.open += 1
        session = Session(self, connection)
        try:
            session.run()
        except OSError:
            pass
        finally:
            session.socket.close()
            with self.lock:
                self.open -= 1
                self.times.append(time.monotonic() - began)

    def act(self, step):
        with self.lock:
            acts = self.acts.get(step)
            return acts.pop(0) if acts else None

    def take(self, session, text):
        with self.lock:
            self.taken.append((session.mail, list(session.to), text, session.tls))

    def holding(self, text):
        """What was taken that holds the text."""
        with self.lock:
            return [t for t in self.taken if text.encode() in t[2]]

    def close(self):
        # A thread in accept() holds the socket; this wakes it.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
