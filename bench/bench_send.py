# SPDX-License-Identifier: Apache-2.0
"""The sending rows of bench/run: from the client that hands a message in to another server that has
it, durable in between. Both sides send to the same sink (bench/sink.c)."""
import os
import subprocess
import sys
import time

RUN = sys.modules["__main__"]  # bench/run itself: its servers, its generator, its table
SET = [word for setting in ("smtp.relays=127.0.0.1", "relay.private_addresses=yes",
                            "mail_auth.verify=no", "queue.attempts_per_destination=64",
                            "relay.transactions_max=100000")
       for word in ("--set", setting)]


class Sink:
    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(RUN.TOOLS, "sink")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def count(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self, count, seconds=300):
        end = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > end:
                raise SystemExit(f"sink: {self.count()} of {count} messages after {seconds} s")
            time.sleep(0.005)


def end_to_end(port, sink, connections, count):
    begin = time.monotonic()
    RUN.load("smtp", port, connections, count, 30000, "user%d@far.test", RUN.USERS)
    sink.wait(count)
    return count / (time.monotonic() - begin)


def ours(connections, count):
    with RUN.Store() as store, Sink() as sink, RUN.Server(store=store, args=SET) as server:
        subprocess.run([RUN.posthouse.PROGRAM, "route", "add", "default",
                        f"smtp:[127.0.0.1]:{sink.port}", "--tls=never",
                        "--data=" + server.info["store"]], check=True, capture_output=True)
        return end_to_end(server.ports["smtp"], sink, connections, count)


def postfix(connections, count):
    with Sink() as sink, RUN.Postfix(1) as server:
        subprocess.run(["/usr/sbin/postconf", "-c", server.config, "-e",
                        f"relayhost=[127.0.0.1]:{sink.port}", "smtp_tls_security_level=none",
                        "smtp_destination_concurrency_limit=64",
                        "default_destination_concurrency_limit=64"], check=True)
        subprocess.run(["/usr/sbin/postfix", "-c", server.config, "reload"], check=True,
                       capture_output=True)
        time.sleep(1)  # a reload tells nobody when it is done
        return end_to_end(server.port, sink, connections, count)


def bench_send(runs, quick):
    for connections in (1, 16, 64):
        count = {1: 1000, 16: 6000, 64: 6000}[connections] // (10 if quick else 1)
        rate, peer = RUN.in_turn(runs, lambda: ours(connections, count),
                                 lambda: postfix(connections, max(count // 4, 100)))
        RUN.row(f"SMTP in to another server, 30 KB, {connections} connections", rate,
                {"Postfix": peer}, "msg/s", "5 x at 16")


def bench_queue(runs, quick):
    """All to one host that answers nobody, so that each message stays and is tried again."""
    count = 10000 if quick else 100000
    dead, = RUN.free_ports(1)
    with RUN.Store() as store, RUN.Server(store=store, args=SET) as server:
        subprocess.run([RUN.posthouse.PROGRAM, "route", "add", "default",
                        f"smtp:[127.0.0.1]:{dead}", "--tls=never",
                        "--data=" + server.info["store"]], check=True, capture_output=True)
        pids = RUN.family(server.process.pid)
        idle = RUN.pss_kib(pids)
        RUN.load("smtp", server.ports["smtp"], 64, count, 2000, "user%d@far.test", RUN.USERS)
        RUN.row(f"memory with {count:,} queued messages, above idle",
                (RUN.pss_kib(pids) - idle) / 1024, {}, "MiB (PSS)", "60 MiB", True)


WHAT = {"send": bench_send, "queue": bench_queue}
