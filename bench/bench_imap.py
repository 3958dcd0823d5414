# SPDX-License-Identifier: Apache-2.0
"""The IMAP rows of bench/run: fetching, storing, appending, and the memory of idle connections."""
import socket
import subprocess
import sys
import time

RUN = sys.modules["__main__"]  # bench/run itself: its servers, its generator, its table
USER = "user1@example.test"


class Client:
    """A signed-in connection that counts bytes and looks at nothing but the end of an answer."""

    def __init__(self, port, user=USER):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.room = bytearray(1 << 20)
        self.ask(None)
        self.ask(f"LOGIN {user} secret")
        self.ask("SELECT INBOX")

    def ask(self, command):
        """Seconds from the command to the last byte of its answer."""
        return self.ask_bytes(command.encode() if command else None)

    def ask_bytes(self, command):
        begin = time.monotonic()
        if command:
            self.socket.sendall(b"tag-7Q " + command + b"\r\n")
        tail = b""
        while True:
            n = self.socket.recv_into(self.room)
            if n == 0:
                raise SystemExit(f"{command and command[:80]}: the connection ended")
            tail = (tail + bytes(self.room[max(0, n - 4096):n]))[-4096:]
            last = tail[tail.rfind(b"\n", 0, -1) + 1:]
            if tail.endswith(b"\r\n") and last.startswith(b"tag-7Q " if command else b"* OK"):
                if command and not last.startswith(b"tag-7Q OK"):
                    raise SystemExit(f"{command[:80]}: {last!r}")
                return time.monotonic() - begin

    def close(self):
        self.socket.close()


def fill(server, dovecot, count, size, users=1):
    RUN.load("smtp", server.ports["smtp"], 16, count * users, size, "user%d@example.test", users)
    RUN.load("lmtp", dovecot.lmtp, 4, count * users, size, "user%d@example.test", users)


def fetch_rate(port, command, count, runs):
    client = Client(port)
    client.ask(command)  # both have seen it once: caches are warm
    seconds = RUN.median(max(runs, 5), lambda: client.ask(command))
    client.close()
    return count / seconds


def bench_fetch(runs, quick):
    count = 2000 if quick else 20000
    with RUN.Store() as store, RUN.Server(store=store, accounts=1) as server, \
            RUN.Dovecot("never") as dovecot:
        fill(server, dovecot, count, 1500)
        for what, items, target in (
                ("(UID FLAGS)", "(UID FLAGS)", "1.5 x"),
                ("(… ENVELOPE)", "(UID FLAGS RFC822.SIZE INTERNALDATE ENVELOPE)", "3 x")):
            command = f"FETCH 1:* {items}"
            RUN.row(f"IMAP FETCH 1:* {what}, {count:,} messages",
                    fetch_rate(server.ports["imap"], command, count, runs),
                    {"Dovecot": fetch_rate(dovecot.imap, command, count, runs)}, "msg/s", target)


def bench_bodies(runs, quick):
    for size in (4000, 30000):
        count = 500 if quick else 4000
        with RUN.Store() as store, RUN.Server(store=store, accounts=1) as server, \
                RUN.Dovecot("never") as dovecot:
            fill(server, dovecot, count, size)
            command = "FETCH 1:* BODY.PEEK[]"
            RUN.row(f"IMAP FETCH 1:* BODY.PEEK[], {size // 1000} KB",
                    fetch_rate(server.ports["imap"], command, count, runs),
                    {"Dovecot": fetch_rate(dovecot.imap, command, count, runs)}, "msg/s", "1.2 x")


def bench_store(runs, quick):
    count = 500 if quick else 4000
    users = RUN.USERS
    with RUN.Store() as store, RUN.Server(store=store, accounts=users) as server, \
            RUN.Dovecot("always") as synced, RUN.Dovecot("optimized") as default:
        fill(server, synced, count, 1000, users)
        RUN.load("lmtp", default.lmtp, 4, count * users, 1000, "user%d@example.test", users)
        for connections in (1, 16):
            flags = iter(("\\Flagged", "\\Seen", "\\Answered", "\\Draft", "\\Deleted", "k1", "k2",
                          "k3", "k4", "k5") * 4)

            def rate(port, flag):
                return RUN.load("imap", port, connections, count, "user%d@example.test", "secret",
                                users, f"STORE %d +FLAGS ({flag})")[2]
            figures = [[], [], []]
            for _ in range(runs):
                flag = f"{next(flags)}" if connections == 1 else f"m{next(flags).strip(chr(92))}"
                for port, into in zip((server.ports["imap"], synced.imap, default.imap), figures):
                    into.append(rate(port, flag))
            ours, always, optimized = (sorted(f)[len(f) // 2] for f in figures)
            RUN.row(f"IMAP STORE, one flag, {connections} connections", ours,
                    {"Dovecot, synced": always, "Dovecot": optimized}, "per s",
                    "3 x synced, 1 x default")


def bench_append(runs, quick):
    count = 300 if quick else 3000
    with RUN.Store() as store, RUN.Server(store=store, accounts=RUN.USERS) as server, \
            RUN.Dovecot("always") as dovecot:
        for connections in (1, 16):
            def rate(port):
                return RUN.load("append", port, connections, count, "user%d@example.test", "secret",
                                RUN.USERS, 30000)[2]
            RUN.row(f"IMAP APPEND 30 KB, {connections} connections",
                    RUN.median(runs, lambda: rate(server.ports["imap"])),
                    {"Dovecot": RUN.median(runs, lambda: rate(dovecot.imap))}, "per s", "3 x")


def idle_each(kind, port, pids, count):
    """KiB a connection that idles, of all processes of the server."""
    before = RUN.pss_kib(pids())
    child = subprocess.Popen([RUN.LOAD, f"idle-{kind}", str(port), str(count),
                              "user%d@example.test", "secret", str(RUN.USERS)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(1)  # until the last of them has given back what it does not need
    after = RUN.pss_kib(pids())
    child.stdin.close()
    child.wait()
    return (after - before) / count


def bench_idle(runs, quick):
    count, peers = (300, 50) if quick else (3000, 200)
    with RUN.Store() as store, RUN.Server(store=store, accounts=RUN.USERS) as server, \
            RUN.Dovecot("always") as dovecot:
        for kind, port, target in (("imap", dovecot.imap, "8 KiB"),
                                   ("imaps", dovecot.imaps, "32 KiB")):
            Client(server.ports["imap"]).close()
            RUN.row(f"idle IMAP connection, {'TLS' if kind == 'imaps' else 'plain'}",
                    idle_each(kind, server.ports[kind],
                              lambda: RUN.family(server.process.pid), count),
                    {"Dovecot": idle_each(kind, port, dovecot.pids, peers)}, "KiB each", target,
                    True)


def bench_imap(runs, quick):
    bench_fetch(runs, quick)
    bench_bodies(runs, quick)
    bench_store(runs, quick)
    bench_append(runs, quick)
    RUN.WHAT["imap-search"](runs, quick)
    RUN.bench_login(runs, quick, ("imap",))
    bench_idle(runs, quick)


WHAT = {"imap": bench_imap, "imap-fetch": bench_fetch, "imap-bodies": bench_bodies,
        "imap-store": bench_store, "imap-append": bench_append, "idle": bench_idle}
