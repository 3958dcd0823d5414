# SPDX-License-Identifier: Apache-2.0
"""The world of tests/run_internet: who is there, how mail is sent into it, and how it must end."""
import atexit
import itertools
import os
import re
import time

import internet
from fake_mx import FakeMX
from internet import (HOME, POSTHOUSE, Authority, Dns, PolicyWeb, Posthouse, Zone, host,
                      server_context, write)
from internet_peers import Exim, OpenSmtpd, Postfix
from posthouse import Skip, check, equal, wait_for

SILENT4, SILENT6, REFUSED = "198.18.7.7", "2001:db8:18::dead", "198.18.5.250"
PEERS = {"postfix": Postfix, "exim": Exim, "opensmtpd": OpenSmtpd}


class World:
    """What all tests share."""
    records = {name: "" for name in ("posthouse.test", "dane.test", "insecure.test",
                                     "expired.test", "bogus.test", "sts.test", "route.test",
                                     "odd.test", "google.com", *(f"{p}.test" for p in PEERS))}
    kinds = {"posthouse.test": "live", "insecure.test": "unsigned", "expired.test": "expired",
             "bogus.test": "bogus", "sts.test": "unsigned", "google.com": "unsigned"}
    addresses = itertools.count(1)
    policies, fakes, peers, numbers = {}, {}, {}, itertools.count(1)


w = World()


def add(*lines):
    for line in lines:
        zone = max((z for z in w.records if line.split()[0].rstrip(".").endswith(z)), key=len)
        w.records[zone] += line + "\n"


def mx(domain, tls=None, record=None, mx_name=None, address=None, where="fakes", via=None, **acts):
    """A mail host of its own for a domain. tls: (chain, key); record: its TLSA; via: an alias of
    the host that MX names instead."""
    address = address or f"198.18.5.{next(w.addresses)}"
    name = mx_name or "mx." + domain
    add(f"{domain}. MX 10 {via or name}.",
        f"{name}. {'AAAA' if ':' in address else 'A'} {address}")
    if via:
        add(f"{via}. CNAME {name}.")
    for data in [record] if isinstance(record, str) else record or []:
        add(f"_25._tcp.{name}. TLSA {data}")
    w.fakes[domain] = FakeMX(where, address, name, context=server_context(*tls) if tls else None,
                             **acts)
    return w.fakes[domain]


# ---- mail and its end ----

def text_of(marker, to, body, sender="anna@posthouse.test", subject="mail"):
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject} {marker}\r\n"
            f"Message-ID: <{marker}@{sender.split('@')[1]}>\r\n"
            "Date: Sat, 28 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n{body}").encode()


def new_marker():
    return f"m{next(w.numbers):05d}z"


def post(*to, mail="", rcpt="", body="Hello.\r\n", tls=False, subject="mail"):
    """anna submits a message; its marker, which its subject and every report of it hold."""
    marker = new_marker()
    if not hasattr(w, "wires"):
        w.wires = {}
    if tls not in w.wires:
        w.wires[tls] = w.posthouse.wire(tls)
    wire = w.wires[tls]
    equal(wire.ask(f"MAIL FROM:<anna@posthouse.test> {mail}".strip())[0], 250, "MAIL " + mail)
    for address in to:
        code, text = wire.ask(f"RCPT TO:<{address}> {rcpt}".strip())
        equal(code, 250, f"RCPT {address}: {text}")
    equal(wire.ask("DATA")[0], 354, "DATA")
    wire.send(text_of(marker, to[0], body, subject=subject) + b".\r\n")
    code, text = wire.reply()
    equal(code, 250, f"the message: {text}")
    return marker


def waiting(to, count=1):
    """The trace of a message that waits in the queue; it was tried so often."""
    def tried():
        return [m["id"] for m in w.posthouse.queue() for r in m["recipients"]
                if r["address"] == to and r["attempts"] >= count]
    numbers = wait_for(tried, f"{to} is tried and waits", 40)
    return numbers[0], w.posthouse.trace(numbers[0])


def waits_with(to, *words):
    """It waits, for this reason; then it is removed."""
    number, trace = waiting(to)
    w.posthouse.do("queue", "remove", str(number))
    for word in words:
        check(word in trace, f"{to}: {word!r} is not in the trace: {trace}")
    return trace


def reports(marker, i=0):
    return [m for m in w.posthouse.found(marker, i)
            if re.search(rb"(?i)content-type: message/(global-)?delivery-status", m)]


def bounced_with(marker, *words):
    got = wait_for(lambda: reports(marker), f"a report for {marker}", 40)
    equal(len(got), 1, "reports")
    for word in words:
        check(word.encode() in got[0], f"{word!r} is not in the report: {got[0].decode()}")
    return got[0]


def taken(fake, marker, times=1, seconds=40):
    got = wait_for(lambda: len(fake.holding(marker)) >= times and fake.holding(marker),
                   f"{marker} at {fake.name.decode()}: {fake.lines[-5:]}", seconds)
    equal(len(got), times, f"copies of {marker}")
    return got


def in_queue(address):
    return [m for m in w.posthouse.queue() for r in m["recipients"] if r["address"] == address]


def named(function, name):
    function.__doc__ = name
    return function


# ---- the world begins ----

def peers_records():
    for n, (name, _) in enumerate(PEERS.items(), 2):
        first, second = f"198.18.{n}.1", f"198.18.{n}.2"
        d = name + ".test"
        add(f"{d}. MX 10 mail.{d}.", f"mail.{d}. A {first}", f"plain.{d}. MX 10 plain-mail.{d}.",
            f"plain-mail.{d}. A {second}", f'{d}. TXT "v=spf1 mx -all"',
            f'mail.{d}. TXT "v=spf1 a -all"', f'_dmarc.{d}. TXT "v=DMARC1; p=reject"')


def dkim_key(name):
    """A key for another's signatures, with its record."""
    path = f"{HOME}/tls/dkim-{name}.key"
    internet.sh("openssl", "genrsa", "-traditional", "-out", path, "2048")
    public = internet.sh("openssl", "rsa", "-in", path, "-pubout")
    data = "".join(public.splitlines()[1:-1])
    add(f'{name}._domainkey.{name}.test. TXT "v=DKIM1; k=rsa; p={data[:200]}" "{data[200:]}"')
    return path


def build(*plans):
    """Each plan adds its hosts (mx, add) and its cases before the name servers start."""
    internet.furnish()
    atexit.register(internet.keep_logs)
    w.ca, w.other = Authority("authority"), Authority("nobodys")
    host("posthouse", POSTHOUSE, "2001:db8:18::1:1", silent=(SILENT4, SILENT6))
    host("fakes", *(f"198.18.5.{n}" for n in range(1, 251)), "198.18.6.1",
         *(f"2001:db8:18::5:{n}" for n in range(1, 9)))
    host("far", "198.18.8.1", "198.18.8.2")
    add(f"mail.posthouse.test. A {POSTHOUSE}", "plain.posthouse.test. MX 10 mail.posthouse.test.",
        "loop.route.test. MX 10 mail.posthouse.test.")
    peers_records()
    w.dkim = {name: dkim_key(name) for name in PEERS}
    for plan in plans:
        plan()
    if w.policies:
        w.web = PolicyWeb("fakes", "198.18.6.1", w.policies)
    w.zones = [Zone(name, w.kinds.get(name, "signed"), text,
                    ttl=1 if name in ("posthouse.test", "sts.test") else 300)
               for name, text in w.records.items()]
    w.dns = Dns(w.zones, f"1.1 PTR mail.posthouse.test.\n")
    w.posthouse = Posthouse("posthouse", "posthouse.test", ["anna", "bob", "mass"], w.dns, w.ca, {
        "dns_update": {"server": "ns.nic.test", "wait": "0s"},
        "blocklist": {"zones": "bl.sts.test"}})
    w.posthouse.do("domain", "add", "plain.posthouse.test")
    w.posthouse.do("alias", "add", "anna@plain.posthouse.test", "anna@posthouse.test")
    w.posthouse.do("alias", "add", "änna@posthouse.test", "anna@posthouse.test")
    w.posthouse.do("alias", "add", "loop@posthouse.test", "loop@postfix.test")
    write(f"{w.posthouse.folder}/data/dns-update.key", "update " + Dns.UPDATE_KEY + "\n", 0o600)
    os.chown(f"{w.posthouse.folder}/data/dns-update.key", internet.EXTRA_USERS["posthouse"],
             internet.EXTRA_USERS["posthouse"])
    w.posthouse.start()


def peer(name):
    """Starts it when it is first asked for; Skip when it cannot be had."""
    if name not in w.peers:
        n = 2 + list(PEERS).index(name)
        try:
            w.peers[name] = PEERS[name](name, f"198.18.{n}.1", f"198.18.{n}.2", w.ca,
                                        dkim=w.dkim[name], loop="loop@posthouse.test")
        except Skip as why:
            w.peers[name] = why
    if isinstance(w.peers[name], Skip):
        raise w.peers[name]
    return w.peers[name]


def pushed(condition, what, seconds=60):
    """What waits is tried again at once, until the condition holds."""
    def push():
        value = condition()
        if not value and time.monotonic() > push.next:
            w.posthouse.do("queue", "retry")
            push.next = time.monotonic() + 1
        return value
    push.next = 0
    return wait_for(push, what, seconds)


class Case:
    """One message to one place, and how it must end."""

    def __init__(self, name, to, end, **how):
        self.name, self.to, self.end, self.how = name, to, end, how
        self.to = [to] if isinstance(to, str) else to

    def begin(self):
        self.marker = post(*self.to, **self.how)

    def verify(self):
        check(hasattr(self, "marker"), "the message was not accepted")
        self.end(self)


def batch(title, cases):
    """All are sent at once; then each has its test."""
    def begin():
        for case in cases:
            case.begin()
    return [named(begin, title + ": the mail is accepted"),
            *(named(lambda c=c: c.verify(), f"{title}: {c.name}") for c in cases)]


def arrives(fake, tls=None, times=1):
    def end(case):
        got = taken(fake, case.marker, times)
        check(tls is None or all(t[3] == tls for t in got), f"over TLS: {got[0][3]}")
        case.taken = got
    return end


def waits(fake, *words):
    def end(case):
        waits_with(case.to[0], *words)
        check(not fake or not fake.holding(case.marker), "it was delivered all the same")
    return end


def bounces(fake, *words):
    def end(case):
        bounced_with(case.marker, case.to[0], *words)
        check(not fake or not fake.holding(case.marker), "it was delivered all the same")
        equal(in_queue(case.to[0]), [], "left in the queue")
    return end
