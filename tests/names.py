# SPDX-License-Identifier: Apache-2.0
"""A name server for tests: a zone in a text, answered over UDP on loopback. One record a line,
"name TYPE value"; "name FAIL" answers SERVFAIL. A name exists when it, or one below, has a line."""
import socket
import struct
import threading

TYPES = {"A": 1, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28}


def wire_name(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def rdata(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "MX":
        preference, host = value.split()
        return struct.pack("!H", int(preference)) + wire_name(host)
    if kind == "TXT":
        raw = value.encode()
        return b"".join(bytes([len(raw[i:i + 255])]) + raw[i:i + 255]
                        for i in range(0, len(raw) or 1, 255))
    return wire_name(value)


class Names:
    def __init__(self, zone):
        self.zone, self.asked = zone, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def lines(self):
        for line in self.zone.strip().splitlines():
            name, kind, *value = line.strip().split(" ", 2)
            yield name, kind, value[0] if value else ""

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name = ".".join(labels)
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        self.asked.append(name)
        question = query[12:at + 5]
        found = [rdata(k, v) for n, k, v in self.lines() if n == name and TYPES.get(k) == kind]
        exists = any(n == name or n.endswith("." + name) for n, _, _ in self.lines())
        code = 0 if exists else 3
        if any(n == name and k == "FAIL" for n, k, _ in self.lines()):
            found, code = [], 2
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 1, len(r)) + r
                           for r in found)
        return head + question + records

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
                self.socket.sendto(self.answer(query), peer)
            except OSError:
                return

    def settings(self):
        return ["--set", f"resolver.forward=127.0.0.1@{self.port}", "--set", "resolver.dnssec=no"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
