# SPDX-License-Identifier: Apache-2.0
"""SEARCH by text, end to end: the same messages of 4 KB in both servers, and after a start."""
import os
import random
import sys
import time

from bench_imap import Client

RUN = sys.modules["__main__"]  # bench/run itself: its servers, its table
USER = "user1@example.test"
COUNTS = tuple(map(int, os.environ.get("BENCH_SEARCH", "20000 200000").split()))
DOVECOT_MOST = 20000  # it reads every message, for every question
SYLLABLES = "ba ke lo mi nu ra se ti vo da fe go hi ju pa zu".split()


def word(n):
    """Word number n of a made-up language."""
    out = ""
    while True:
        out += SYLLABLES[n % 16]
        n //= 16
        if n == 0:
            return out


def messages(count):
    """Lines of words of which small numbers are common, and what is different in every message."""
    rng = random.Random(7)

    def line():
        return " ".join(word(rng.randrange(1 << rng.randrange(3, 16))) for _ in range(12))
    lines = [line() for _ in range(20000)]
    for i in range(count):
        sender = rng.randrange(3000)
        body = "\r\n".join(rng.choices(lines, k=60))
        if i % 10000 == 77:
            body = "the zyxwvut of the quarter\r\n" + body
        yield (f"From: {word(sender)} <user{sender}@example{sender % 400}.test>\r\n"
               f"To: me@example.test\r\nSubject: {rng.choice(lines)[:40]}\r\n"
               f"Message-ID: <{rng.randrange(1 << 62):x}.{i}@example.test>\r\n"
               f"Date: Mon, 23 Nov 2026 {i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02} +0000\r\n"
               f"\r\n{body}")[:4096].encode() + b"\r\n"


def fill(port, count):
    client = Client(port)
    batch, texts = b"", messages(count)
    for i, text in enumerate(texts, 1):
        batch += b" {%d+}\r\n%s" % (len(text), text)
        if i % 50 == 0 or i == count:
            client.ask_bytes(b"APPEND INBOX" + batch)
            batch = b""
    client.close()


QUESTIONS = (
    ("one word, rare", "TEXT zyxwvut"),
    ("one word, nowhere", "TEXT qqqqq"),
    ("inside words, common", "TEXT bake"),
    ("a phrase, rare", 'TEXT "zyxwvut of the"'),
    ("a phrase of common words", 'TEXT "ba ke"'),
    ("BODY, one word", "BODY lobami"),
    ("SUBJECT, one word", "SUBJECT lobami"),
    ("FROM, an address", 'FROM "user17@example17.test"'),
)


def settle(server):
    """Until the server has nothing left to do."""
    end, before = time.monotonic() + 600, -1.0
    while time.monotonic() < end:
        used = RUN.cpu_seconds(RUN.family(server.process.pid))
        if used - before < 0.02:
            return
        before = used
        time.sleep(1)


def ask_all(port, runs):
    client = Client(port)
    figures = {what: RUN.median(runs, lambda q=question: client.ask(f"UID SEARCH {q}") * 1000)
               for what, question in QUESTIONS}
    client.close()
    return figures


def measure(count, runs):
    with RUN.Store() as store:
        with RUN.Server(store=store, accounts=1) as server:
            fill(server.ports["imap"], count)
            client = Client(server.ports["imap"])
            fresh = client.ask("UID SEARCH TEXT zyxwvut") * 1000
            client.close()
            begin = time.monotonic()
            settle(server)
            print(f"# {count:,}: quiet {time.monotonic() - begin:.0f} s later", flush=True)
            figures = {"right after the last arrived": fresh, **ask_all(server.ports["imap"], runs)}
        with RUN.Server(store=store, accounts=1) as server:
            client = Client(server.ports["imap"])
            figures["first after a start"] = client.ask("UID SEARCH TEXT zyxwvut") * 1000
            client.close()
    return figures


def peer(count, runs):
    if count > DOVECOT_MOST:
        return {}
    with RUN.Dovecot("never") as dovecot:
        fill(dovecot.imap, count)
        return ask_all(dovecot.imap, runs)


def bench_search(runs, quick):
    for count in (2000,) if quick else COUNTS:
        ours, theirs = measure(count, runs), peer(count, runs)
        for what, ms in ours.items():
            target = {20000: "50 ms", 200000: "200 ms"}.get(count)
            RUN.row(f"IMAP SEARCH in {count:,} of 4 KB: {what}", ms,
                    {"Dovecot": theirs[what]} if what in theirs else {}, "ms", target, True)


WHAT = {"imap-search": bench_search}
