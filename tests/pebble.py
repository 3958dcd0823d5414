# SPDX-License-Identifier: Apache-2.0
"""pebble, the ACME authority made for tests (RFC 8555), built here from its source; Knot DNS as a
zone's primary; and a front before pebble that fails as it is told."""
import base64
import fcntl
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

from posthouse import Failed, Skip, free_ports, listens, wait_for
from web import Handler, Https

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSION = "v2.4.0"  # the newest that Debian 12's Go (1.19) can build
MODULE = "github.com/letsencrypt/pebble/v2/cmd/"
PROGRAMS = ["pebble", "pebble-challtestsrv"]
FOLDER = os.path.join(ROOT, "build", "pebble-" + VERSION)
BUILD_MAX_S = 400
AWAY = re.compile(r"dial tcp|no such host|i/o timeout|network is unreachable|connection refused"
                  r"|proxyconnect|TLS handshake timeout|unknown authority")


def build(folder):
    go = shutil.which("go")
    if not go:
        raise Failed("there is no go to build pebble with; Debian's package is golang-go")
    env = {**os.environ, "GOBIN": folder, "GOPATH": os.path.join(FOLDER, "go"),
           "GOCACHE": os.path.join(FOLDER, "cache"), "GOTOOLCHAIN": "local",
           "GOFLAGS": "-modcacherw"}
    found = re.search(r"go1\.(\d+)", subprocess.run([go, "version"], capture_output=True, text=True,
                                                    check=True).stdout)
    # What this version depends on reaches into the runtime, which later linkers only allow so.
    flags = ["-ldflags=-checklinkname=0"] if found and int(found.group(1)) >= 23 else []
    ran = subprocess.run([go, "install", *flags, *(f"{MODULE}{p}@{VERSION}" for p in PROGRAMS)],
                         env=env, capture_output=True, text=True, timeout=BUILD_MAX_S, check=False)
    if ran.returncode and AWAY.search(ran.stderr):
        raise Skip("pebble cannot be fetched: no module proxy is reached from here")
    if ran.returncode:
        raise Failed(f"pebble {VERSION} was not built:\n{ran.stderr[-2000:]}")


def install():
    """The folder with pebble's programs, built once and kept below build/."""
    if os.environ.get("PEBBLE"):
        return os.environ["PEBBLE"]
    done = os.path.join(FOLDER, "bin")
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(done):
            fresh = os.path.join(FOLDER, "fresh")
            build(fresh)
            os.rename(fresh, done)
            for spare in ("go", "cache"):
                shutil.rmtree(os.path.join(FOLDER, spare), ignore_errors=True)
    return done


def await_port(port, child=None):
    def ready():
        if child and child.poll() is not None:
            raise Failed(f"{child.args[0]} ended with status {child.returncode}")
        return listens(port)
    wait_for(ready, f"a listener on {port}")


class Children:
    """Programs in a folder of their own, ended by their process ids."""

    def __init__(self):
        self.children, self.dir = [], tempfile.mkdtemp(prefix="posthouse-acme-")

    def start(self, *command, **env):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.children.append(subprocess.Popen(command, env={**os.environ, **env}, stdout=log,
                                                  stderr=log, stdin=subprocess.DEVNULL))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.terminate()
            child.wait(20)
        shutil.rmtree(self.dir)


class Authority(Children):
    """pebble. dns: the port of a name server; without it one leads every name to this host."""

    def __init__(self, http_port=1, tls_port=1, days=90, seconds=0, dns=None):
        super().__init__()
        programs = install()
        self.port, management, dns_port, names_management = free_ports(4)
        self.make_certificate()
        config = {"pebble": {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": f"{self.dir}/ca.pem", "privateKey": f"{self.dir}/ca.key",
            "httpPort": http_port, "tlsPort": tls_port, "ocspResponderURL": "",
            "certificateValidityPeriod": seconds or days * 86400}}
        with open(f"{self.dir}/config.json", "w") as f:
            json.dump(config, f)
        self.dns = dns or dns_port
        if not dns:
            self.start(f"{programs}/pebble-challtestsrv", "-defaultIPv6", "", "-defaultIPv4",
                       "127.0.0.1", "-http01", "", "-https01", "", "-tlsalpn01", "", "-dns01",
                       f"127.0.0.1:{self.dns}", "-management", f"127.0.0.1:{names_management}")
            await_port(self.dns, self.children[-1])
        # A tenth of pebble's nonces are bad by design (RFC 8555 6.5).
        self.start(f"{programs}/pebble", "-config", f"{self.dir}/config.json", "-dnsserver",
                   f"127.0.0.1:{self.dns}", PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="10")
        await_port(self.port, self.children[-1])

    def make_certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=authority", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", f"{self.dir}/ca.key", "-out",
             f"{self.dir}/ca.pem"], check=True, capture_output=True)


PASSED_ON = ("Replay-Nonce", "Location", "Content-Type", "Link")


class Front(Https):
    """Before the authority: passes everything on, until `failing` says otherwise."""

    def __init__(self, authority):
        self.failing, front = None, self
        trust = ssl.create_default_context(cafile=f"{authority.dir}/ca.pem")

        class PassOn(Handler):
            def do_GET(self):
                self.pass_on(None)

            def do_HEAD(self):
                self.pass_on(None)

            def do_POST(self):
                self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

            def pass_on(self, body):
                if front.failing == "503":
                    self.answer(503, {}, b"the backend is on holiday")
                    return
                ask = urllib.request.Request(
                    f"https://127.0.0.1:{authority.port}{self.path}", body, method=self.command,
                    headers={"Host": self.headers["Host"],
                             "Content-Type": self.headers.get("Content-Type", "")})
                try:
                    with urllib.request.urlopen(ask, context=trust, timeout=20) as got:
                        status, head, data = got.status, got.headers, got.read()
                except urllib.error.HTTPError as e:
                    status, head, data = e.code, e.headers, e.read()
                if front.failing == "invalid" and "/my-order/" in self.path and status == 200:
                    order = json.loads(data)
                    order.update(status="invalid", error={"detail": "we changed our mind"})
                    data = json.dumps(order).encode()
                self.answer(status, {n: head[n] for n in PASSED_ON if head.get(n)}, data)

        super().__init__(PassOn, f"{authority.dir}/ca.pem", f"{authority.dir}/ca.key")


class Knot(Children):
    """The primary of example.test, which takes updates that are signed with self.key."""

    def __init__(self):
        super().__init__()
        knotd = shutil.which("knotd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not knotd:
            raise Failed("there is no knotd; Debian's package is knot")
        self.port, = free_ports(1)
        secret = base64.b64encode(os.urandom(32)).decode()
        self.key = f"update.example.test {secret}"
        with open(f"{self.dir}/example.test.zone", "w") as f:
            f.write("$ORIGIN example.test.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\n"
                    "ns A 127.0.0.1\nmail A 127.0.0.1\n")
        with open(f"{self.dir}/knot.conf", "w") as f:
            f.write(f"""server:
    rundir: {self.dir}
    listen: 127.0.0.1@{self.port}
log:
  - target: stderr
    any: info
database:
    storage: {self.dir}/db
key:
  - id: update.example.test
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: update
    key: update.example.test
    action: update
zone:
  - domain: example.test
    storage: {self.dir}
    file: example.test.zone
    acl: update
""")
        os.mkdir(f"{self.dir}/db")
        self.start(knotd, "-c", f"{self.dir}/knot.conf")
        await_port(self.port, self.children[-1])
