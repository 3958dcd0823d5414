# SPDX-License-Identifier: Apache-2.0
"""One large mailbox: the first SELECT after a start, and what a client does in it, end to end."""
import os
import re
import socket
import statistics
import subprocess
import sys
import time

RUN = sys.modules["__main__"]  # bench/run itself: its servers, its table
USER = "user1@example.test"
SESSIONS = 200
TURNS = int(os.environ.get("BENCH_TURNS", "5"))
COUNTS = tuple(map(int, os.environ.get(
    "BENCH_MESSAGES", "125000 250000 500000 1000000").split()))


class Client:
    """A signed-in connection that keeps its answers."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.answer = b""
        self.ask(None)
        self.ask(f"LOGIN {USER} secret")

    def ask(self, command):
        """Milliseconds from the command to the last byte of its answer."""
        begin = time.monotonic()
        if command:
            self.socket.sendall(f"tag-7Q {command}\r\n".encode())
        pieces, tail = [], b""
        while True:
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise SystemExit(f"{command}: the connection ended")
            pieces.append(piece)
            tail = (tail + piece)[-4096:]
            last = tail[tail.rfind(b"\n", 0, -1) + 1:]
            if tail.endswith(b"\r\n") and last.startswith(b"tag-7Q " if command else b"* OK"):
                if command and not last.startswith(b"tag-7Q OK"):
                    raise SystemExit(f"{command}: {last!r}")
                ms = (time.monotonic() - begin) * 1000
                self.answer = b"".join(pieces)
                return ms

    def number(self, pattern):
        return int(re.search(pattern, self.answer).group(1))

    def close(self):
        self.socket.close()


def house(server):
    return server.role("house")


def first_select(store):
    """Starts a server on the store: (ms of the first SELECT, server, client)."""
    server = RUN.Server(store=store, accounts=1)
    client = Client(server.ports["imap"])
    return client.ask("SELECT INBOX"), server, client


def opening(store, figures, runs):
    server = RUN.Server(store=store, accounts=1)
    client = Client(server.ports["imap"])
    figures["first SELECT, rows read (no snapshot yet)"] = client.ask("SELECT INBOX")
    client.close()
    server.stop()  # a clean end writes what is missing
    times = []
    for _ in range(runs):
        ms, server, client = first_select(store)
        times.append(ms)
        client.close()
        server.stop()
    figures["first SELECT after a start"] = statistics.median(times)
    ms, server, client = first_select(store)
    client.ask("STORE 5 +FLAGS (\\Flagged)")
    client.close()
    server.kill()
    figures["first SELECT after kill -9"], server, client = first_select(store)
    return server, client


def questions(count, turn):
    at, new = count // 3 + turn * 1000, count - 51 - turn * 50
    page = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
    return (
        ("50 envelopes, the newest", f"FETCH {new - 49}:{new} {page}"),
        ("50 envelopes, anywhere", f"FETCH {at}:{at + 49} {page}"),
        ("STORE one flag", f"STORE {at} +FLAGS (\\Draft)"),
        (None, f"STORE {at} +FLAGS (\\Deleted)"),
        ("EXPUNGE of one", "EXPUNGE"),
        ("SEARCH RETURN (COUNT) UNSEEN", "SEARCH RETURN (COUNT) UNSEEN"),
        ("SEARCH UNSEEN", "SEARCH UNSEEN"),
        ("SORT of the newest 1,000", f"SORT (REVERSE DATE) UTF-8 {count - 1100}:{count - 101}"),
        ("THREAD of the newest 1,000", f"THREAD REFERENCES UTF-8 {count - 1100}:{count - 101}"),
        ("LIST with STATUS", 'LIST "" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))'),
        ("FETCH 1:* (FLAGS)", "FETCH 1:* (FLAGS)"),
        ("SELECT again", "SELECT INBOX"),
    )


def resync(server, client, turn):
    """One change by somebody else, and a client that was away meanwhile."""
    client.ask("SELECT INBOX")
    validity, modseq = (client.number(p) for p in (rb"UIDVALIDITY (\d+)", rb"HIGHESTMODSEQ (\d+)"))
    client.ask(f"STORE {1 + turn} FLAGS (\\Answered)")
    away = Client(server.ports["imap"])
    away.ask("ENABLE QRESYNC")
    yield "QRESYNC after one change", away.ask(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
    yield "FETCH 1:* (FLAGS) (CHANGEDSINCE)", away.ask(
        f"FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})")
    away.close()


def asking(server, client, count, figures, turns=TURNS):
    times = {}
    for turn in range(turns):
        for what, command in questions(count, turn):
            ms = client.ask(command)
            if what:
                times.setdefault(what, []).append(ms)
        for what, ms in resync(server, client, turn):
            times.setdefault(what, []).append(ms)
    for what, ms in times.items():
        figures[what] = statistics.median(ms)
        print(f"# {what}: median {figures[what]:.2f} ms, worst of {len(ms)}: {max(ms):.2f}")


def memory(server, client, figures):
    time.sleep(1)  # until the keeper has packed what the questions unpacked
    before = RUN.pss_kib(house(server))
    figures["memory of the house, KiB"] = before
    clients = []
    for _ in range(SESSIONS):
        clients.append(Client(server.ports["imap"]))
        clients[-1].ask("SELECT INBOX")
    time.sleep(1)
    figures["memory of one more session, KiB"] = (RUN.pss_kib(house(server)) - before) / SESSIONS
    for c in clients:
        c.close()


def measure(count, runs):
    figures = {}
    with RUN.Store() as store:
        with RUN.Server(store=store, accounts=1):
            pass
        begin = time.monotonic()
        subprocess.run([os.path.join(RUN.TOOLS, "fill_mailbox"), store, USER, str(count)],
                       check=True)
        print(f"# {count:,} messages in {time.monotonic() - begin:.0f} s", flush=True)
        server, client = opening(store, figures, runs)
        with server:
            asking(server, client, count, figures)
            memory(server, client, figures)
            slow = [line for line in server.log_text().splitlines() if "slice" in line]
        if slow:
            print("\n".join(slow), flush=True)
    return figures


def bench_mailbox(runs, quick):
    counts = (10000, 20000) if quick else COUNTS
    columns = [measure(count, runs) for count in counts]
    for what in columns[-1]:
        unit = "KiB" if "KiB" in what else "ms"
        RUN.row(f"mailbox of {counts[-1]:,}: {what}", columns[-1][what],
                {f"{n:,}": c[what] for n, c in zip(counts[:-1], columns)}, unit, None, True)


WHAT = {"imap-mailbox": bench_mailbox}
