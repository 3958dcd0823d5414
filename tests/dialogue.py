# SPDX-License-Identifier: Apache-2.0
"""Dialogue scripts: conversations with a server as text. The format is described in README.md."""
import codecs
import os
import re
import select
import shlex
import socket
import ssl
import subprocess
import time

WAIT_S = float(os.environ.get("DIALOGUE_WAIT_S", "10"))
LINES_MAX = 100000
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build",
                       "posthouse")
VERBS = r"C:|c:|S:|S~|S\*|TLS|STARTTLS|CONNECT|CLOSE|SHUT|EOF|SET|RUN|OUT~|REPEAT"
STEP = re.compile(rf"(?:([A-Za-z][\w-]*)> )?({VERBS})(?: (.*))?$")
VARIABLE = re.compile(r"\$\{(\w+)\}")


class Mismatch(Exception):
    """The dialogue went another way than written."""


class Step:
    def __init__(self, number, wire, verb, text):
        self.number, self.wire, self.verb, self.text = number, wire, verb, text

    def __str__(self):
        name = f"{self.wire}> " if self.wire else ""
        return f"{name}{self.verb} {self.text}".rstrip()


class Script:
    """A parsed file; name is its first comment, or its path."""

    def __init__(self, path):
        self.path, self.steps, self.rules, self.options = path, [], [], {}
        self.name = None
        with open(path, encoding="utf-8", newline="") as f:
            for number, line in enumerate(f.read().split("\n"), 1):
                self._line(number, line.rstrip("\r"))
        self.name = self.name or os.path.basename(path)

    def _line(self, number, line):
        if not line.strip():
            return
        if line.startswith("#"):
            self._comment(line[1:].strip())
            return
        found = STEP.match(line)
        if not found:
            raise ValueError(f"{self.path}:{number}: not a step: {line}")
        wire, verb, text = found.groups()
        self.steps.append(Step(number, wire or "", verb, text or ""))

    def _comment(self, text):
        key, _, value = text.partition(":")
        if key == "rule":
            self.rules.append(value.strip())
        elif key in ("server", "timeout"):
            self.options[key] = value.strip()
        elif text and not self.name:
            self.name = text


class Wire:
    """One connection."""

    def __init__(self, host, port):
        if isinstance(port, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(WAIT_S)
            self.sock.connect(port)
        else:
            self.sock = socket.create_connection((host, port), WAIT_S)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def start_tls(self, name):
        if self.pending:
            raise Mismatch(f"the server said more before TLS: {self.pending!r}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=name or "localhost")

    def send(self, data):
        self.sock.sendall(data)

    def _more(self, wait_s):
        """Reads once; False at the end of the stream."""
        ready = getattr(self.sock, "pending", lambda: 0)() > 0
        if not ready and not select.select([self.sock], [], [], max(wait_s, 0))[0]:
            raise Mismatch(f"nothing more within {WAIT_S:g} s, after {self.pending!r}")
        try:
            piece = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            piece = b""
        self.pending += piece
        return bool(piece)

    def line(self):
        end = time.monotonic() + WAIT_S
        while b"\n" not in self.pending:
            if not self._more(end - time.monotonic()):
                raise Mismatch(f"the server closed, after {self.pending!r}")
        line, _, self.pending = self.pending.partition(b"\n")
        if not line.endswith(b"\r"):
            raise Mismatch(f"a line ends with a bare LF: {line!r}")
        return line[:-1].decode("utf-8", "surrogateescape")

    def expect_end(self):
        end = time.monotonic() + WAIT_S
        while not self.pending and self._more(end - time.monotonic()):
            pass
        if self.pending:
            raise Mismatch(f"wanted the end of the connection, got {self.pending!r}")

    def close(self):
        self.sock.close()


def unescape(text):
    """\\r \\n \\t \\0 \\\\ \\xHH, and text as UTF-8."""
    return codecs.escape_decode(text.encode("utf-8"))[0]


class Player:
    """Plays one script against ports (name to number)."""

    def __init__(self, script, ports, variables=None, host="127.0.0.1"):
        self.script, self.ports, self.host = script, ports, host
        self.variables = dict(variables or {})
        self.wires, self.heard, self.output = {}, [], []

    def play(self):
        """None, or what went wrong, as text."""
        step = None
        try:
            for step in self.script.steps:
                self._step(step)
        except (Mismatch, OSError, KeyError, re.error) as why:
            where = f"{self.script.path}:{step.number if step else 0}: {step}"
            heard = "".join(f"\n  {line}" for line in self.heard[-12:])
            what = f"unknown name {why}" if isinstance(why, KeyError) else str(why)
            return f"{where}\n{what}\nthe dialogue so far:{heard}"
        finally:
            for wire in self.wires.values():
                wire.close()
        return None

    def _fill(self, text, quote=lambda s: s):
        return VARIABLE.sub(lambda m: quote(self.variables[m.group(1)]), text)

    def _wire(self, step):
        if step.wire not in self.wires:
            raise Mismatch(f"no connection {step.wire or '(unnamed)'}: CONNECT comes first")
        return self.wires[step.wire]

    def _step(self, step):
        text, verb = step.text, step.verb
        if verb == "CONNECT":
            if step.wire in self.wires:
                self.wires[step.wire].close()
            port = self._fill(text)
            self.wires[step.wire] = Wire(self.host, int(port) if port.isdigit()
                                         else self.ports[port])
        elif verb == "RUN":
            self._run(self._fill(text))
        elif verb == "OUT~":
            if not any(self._found(text, line) for line in self.output):
                raise Mismatch(f"- wanted: {self._fill(text)}\n+ got:    {self.output!r}")
        elif verb == "REPEAT":
            times, _, what = text.partition(" ")
            what = unescape(self._fill(what))
            self.heard.append(f"{step.wire}C {times} times {what!r}")
            self._wire(step).send(what * int(times))
        elif verb == "SET":
            name, _, value = text.partition("=")
            self.variables[name.strip()] = self._fill(value.strip())
        elif verb in ("C:", "c:"):
            data = self._fill(text)
            data = unescape(data) if verb == "c:" else data.encode(
                "utf-8", "surrogateescape") + b"\r\n"
            self.heard.append(f"{step.wire}C {data!r}")
            self._wire(step).send(data)
        elif verb in ("TLS", "STARTTLS"):
            self._wire(step).start_tls(self._fill(text))
        elif verb == "SHUT":
            self._wire(step).sock.shutdown(socket.SHUT_WR)
        elif verb == "CLOSE":
            self._wire(step).close()
            del self.wires[step.wire]
        elif verb == "EOF":
            self._wire(step).expect_end()
        else:
            self._expect(step)

    def _run(self, text):
        """A command of posthouse to the server; it must succeed."""
        words = [os.environ.get("POSTHOUSE", PROGRAM), *shlex.split(text),
                 "--data", self.variables["data"]]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        self.output = (done.stdout + done.stderr).splitlines()
        self.heard += [f"$ posthouse {text}", *self.output]
        if done.returncode:
            raise Mismatch(f"exit status {done.returncode}")

    def _hear(self, step):
        line = self._wire(step).line()
        self.heard.append(f"{step.wire}S {line}")
        return line

    def _matches(self, step, line):
        if step.verb == "S:":
            return line == self._fill(step.text)
        return self._found(step.text, line)

    def _found(self, text, line):
        found = re.fullmatch(self._fill(text, re.escape), line)
        if found:
            self.variables.update({k: v for k, v in found.groupdict().items() if v is not None})
        return found is not None

    def _expect(self, step):
        if step.verb == "S*":
            for _ in range(LINES_MAX):
                if self._matches(step, self._hear(step)):
                    return
            raise Mismatch("no such line came")
        line = self._hear(step)
        if not self._matches(step, line):
            raise Mismatch(f"- wanted: {self._fill(step.text)}\n+ got:    {line}")


def indent(text):
    return "\n".join("#   " + line for line in text.splitlines())


def run(paths, start, emit=print):
    """Plays the scripts; start(options) gives (ports, variables) of a server that fits the script's
    options. Prints a line for each; gives the number of those that failed."""
    failed = 0
    for path in paths:
        try:
            script = Script(path)
            ports, variables = start(script.options)
            wrong = Player(script, ports, variables).play()
        except Exception as why:  # a broken script or server is a failed test, not the end
            script, wrong = None, f"{type(why).__name__}: {why}"
        rules = "".join(f" (rule: {r})" for r in script.rules) if script else ""
        name = f"{os.path.relpath(path)}: {script.name}{rules}" if script else os.path.relpath(path)
        emit(f"{'not ok' if wrong else 'ok'} - {name}")
        if wrong:
            emit(indent(wrong))
            failed += 1
    return failed
