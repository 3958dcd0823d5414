# SPDX-License-Identifier: Apache-2.0
"""What the test scripts share: a running `posthouse dev`, wires to talk on, and TAP lines."""
import json
import mmap
import os
import select
import shlex
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.environ.get("POSTHOUSE", os.path.join(BUILD, "posthouse"))
START_MAX_S = 30


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: wanted {wanted!r}, got {got!r}")


class Skip(Exception):
    pass


def run(tests):
    """Runs functions whose docstrings name what they prove; ends the process."""
    failed = 0
    for test in tests:
        name = test.__doc__.strip().splitlines()[0]
        try:
            test()
            print(f"ok - {name}", flush=True)
        except Skip as why:
            print(f"ok - {name} # skip {why}", flush=True)
        except Exception as why:  # every failure of a test is a line, not an end
            failed += 1
            print(f"not ok - {name}", flush=True)
            trace = "" if isinstance(why, Failed) else traceback.format_exc()
            for line in (str(why) + "\n" + trace).strip().splitlines():
                print(f"#   {line}", flush=True)
    sys.exit(1 if failed else 0)


def sanitized():
    """Whether PROGRAM is a build with a sanitizer: its memory is not the program's own then."""
    with open(PROGRAM, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return any(whole.find(name) >= 0 for name in (b"__asan_init", b"__tsan_init"))


class Server:
    """A `posthouse dev` of the test's own: loopback, free ports, ended by its process id."""

    def __init__(self, store=None, accounts=2, args=(), env=None):
        self.store = store
        command = [PROGRAM, "dev", "--json", "--accounts", str(accounts), *args]
        if store:
            command += ["--store", store]
        self.log = tempfile.NamedTemporaryFile("w+", prefix="posthouse-", suffix=".log")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})})
        line = self._first_line()
        try:
            self.info = json.loads(line)
        except ValueError:
            self.stop()
            raise Failed(f"no JSON line from {' '.join(command)}: {line!r}\n{self.log_text()}")
        self.ports = self.info["ports"]

    def _first_line(self):
        line, end = b"", time.monotonic() + START_MAX_S
        fd = self.process.stdout.fileno()
        while not line.endswith(b"\n") and time.monotonic() < end:
            if select.select([fd], [], [], 0.5)[0]:
                piece = os.read(fd, 65536)
                if not piece:
                    break
                line += piece
        return line.decode("utf-8", "replace")

    def log_text(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()[-8000:]

    def children(self):
        """{pid: title} of the roles."""
        found = {}
        pids = [self.process.pid]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    pids += [int(p) for p in f.read().split()]
            except OSError:
                continue
        for pid in pids[1:]:
            try:
                with open(f"/proc/{pid}/comm") as f:
                    found[pid] = f.read().strip()
            except OSError:
                continue
        return found

    def role(self, word):
        """Process ids of the roles whose title has this word."""
        return [pid for pid, title in self.children().items() if word in title]

    def address(self, i=0):
        return self.info["accounts"][i]["address"]

    def password(self, i=0):
        return self.info["accounts"][i]["password"]

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failed("the server did not end within 20 s\n" + self.log_text())
        self.process.stdout.close()
        return self.process.returncode

    def kill(self):
        """kill -9 of everything that it started."""
        pids = [self.process.pid, *self.children()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process.stdout.close()
        end = time.monotonic() + 10
        while time.monotonic() < end and any(os.path.exists(f"/proc/{p}") for p in pids[1:]):
            time.sleep(0.005)  # the kernel takes them away; there is nothing to wait on

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self.log.close()


class Wire:
    """Bytes to a port and lines back, nothing hidden."""

    def __init__(self, port, tls=None, timeout=20, path=None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        if tls:
            self.start_tls(tls)

    def start_tls(self, ca):
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        self.socket = context.wrap_socket(self.socket)

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def line(self):
        """The next line with its end; what there is at the end of the stream."""
        while b"\n" not in self.pending:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                line, self.pending = self.pending, b""
                return line
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        """An SMTP reply: (code, text); (0, "") at the end of the stream."""
        lines = []
        while True:
            line = self.line().decode("utf-8", "replace")
            if len(line) < 4:
                return 0, "\n".join(lines)
            lines.append(line[4:].rstrip("\r\n"))
            if line[3] != "-":
                return int(line[:3]), "\n".join(lines)

    def ask(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def multiline(self):
        """A POP3 multi-line answer after +OK, dots taken off."""
        first = self.line()
        if not first.startswith(b"+OK"):
            return first, None
        body = []
        while True:
            line = self.line()
            if line == b".\r\n":
                return first, b"".join(body)
            if not line:
                raise Failed("the stream ended in a multi-line answer")
            body.append(line[1:] if line.startswith(b".") else line)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def message(subject, body="Hello.\r\n", sender="user1@example.test", to="user2@example.test",
            extra=""):
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n"
            f"Message-ID: <{subject.replace(' ', '.')}@test>\r\n"
            f"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n{extra}\r\n{body}").encode()


def smtp(server, which="smtp", hello="EHLO client.example.test"):
    """A greeted connection to an SMTP port, or to the LMTP socket."""
    wire = Wire(server.ports.get(which), path=server.info["lmtp"] if which == "lmtp" else None)
    equal(wire.reply()[0], 220, "greeting")
    equal(wire.ask(hello)[0], 250, "hello")
    return wire


def send(wire, data, sender="someone@elsewhere.test", to=("user1@example.test",)):
    """One transaction with DATA; the final code."""
    code, text = wire.ask(f"MAIL FROM:<{sender}>")
    if code != 250:
        return code
    for address in to:
        code, text = wire.ask(f"RCPT TO:<{address}>")
        if code != 250:
            return code
    code, text = wire.ask("DATA")
    if code != 354:
        return code
    wire.send(data.replace(b"\r\n.", b"\r\n..") + (b"" if data.endswith(b"\r\n") else b"\r\n")
              + b".\r\n")
    return wire.reply()[0]


def pop3(server, i=0):
    """A signed-in POP3 connection."""
    wire = Wire(server.ports["pop3"])
    check(wire.line().startswith(b"+OK"), "POP3 greeting")
    wire.send(f"USER {server.address(i)}\r\n")
    check(wire.line().startswith(b"+OK"), "USER")
    wire.send(f"PASS {server.password(i)}\r\n")
    answer = wire.line()
    check(answer.startswith(b"+OK"), f"PASS: {answer!r}")
    return wire


def pop3_messages(server, i=0):
    """All messages of an account, as bytes, in order."""
    with pop3(server, i) as wire:
        wire.send("STAT\r\n")
        count = int(wire.line().split()[1])
        found = []
        for n in range(1, count + 1):
            wire.send(f"RETR {n}\r\n")
            first, body = wire.multiline()
            check(body is not None, f"RETR {n}: {first!r}")
            found.append(body)
        wire.send("QUIT\r\n")
        wire.line()
        return found


def command(*args, store=None, stdin=None, ok=True):
    """posthouse ARGS → (exit code, standard output, standard error)."""
    done = subprocess.run([PROGRAM, *args], input=stdin, capture_output=True, text=True,
                          timeout=120)
    if ok:
        check(done.returncode == 0,
              f"posthouse {' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.returncode, done.stdout, done.stderr


class Folder:
    """A temporary folder."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="posthouse-test-")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def need(*programs):
    for program in programs:
        if not shutil.which(program) and not os.path.exists(f"/usr/sbin/{program}"):
            raise Failed(f"{program} is not installed (./dev test installs it)")


def tool(args, stdin=None, env=None, timeout=60, ok=True):
    """Runs a client program; its output as text."""
    done = subprocess.run(args, input=stdin, capture_output=True, timeout=timeout,
                          env={**os.environ, **(env or {})})
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    if ok:
        check(done.returncode == 0, f"{args[0]}: exit {done.returncode}: {text}")
    return text


def wait_for(condition, what, seconds=20):
    """Waits for something outside of our reach to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failed(f"{what}: not within {seconds} s")


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def listens(port):
    """Whether somebody accepts connections on this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def serve_with(session, port=0):
    """A server on loopback with session(handler) on a thread for each connection; the caller ends
    it with shutdown() and server_close()."""
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            try:
                session(self)
            except OSError:
                pass

    class Listener(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        request_queue_size = 128

    server = Listener(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Newcomer:
    """A folder and a user without rights; posthouse is on the path."""

    def __init__(self, folder):
        self.folder = folder
        self.user = []
        shutil.copy(PROGRAM, os.path.join(folder, "posthouse"))
        os.chmod(folder, 0o755)
        if os.geteuid() == 0:
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            os.chown(folder, 65534, 65534)
        self.env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": folder}

    def do(self, line, ok=True, stdin=None):
        done = subprocess.run([*self.user, "bash", "-c", line], cwd=self.folder, env=self.env,
                              input=stdin, capture_output=True, text=True, timeout=60, check=False)
        if ok:
            check(done.returncode == 0, f"{line}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, line):
        return subprocess.Popen([*self.user, *shlex.split(line)], cwd=self.folder, env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
