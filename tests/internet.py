# SPDX-License-Identifier: Apache-2.0
"""A small internet for tests: hosts in network namespaces on one bridge, a DNS tree signed with
DNSSEC (Knot, one server each for the root, test. and the domains), a resolver (Unbound) for those
who have none of their own, an authority for certificates, web hosts for MTA-STS policies, and a
Posthouse as an operator would run it.

Everything lives in namespaces of the test's own (network, mounts, processes): when the test ends,
however it ends, nothing is left. Linux shows each thread one network; `inside(host)` is where a
thread opens its sockets and starts its programs."""
import base64
import contextlib
import ctypes
import glob
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading

from posthouse import BUILD, PROGRAM, Wire, check, equal, pop3, wait_for

HOME = "/run/internet"  # a memory file system of the test's own
INSIDE = "POSTHOUSE_SMALL_INTERNET"
CLONE_NEWNET = 0x40000000
ROOT_SERVER, TEST_SERVER, DOMAIN_SERVER, LAME_SERVER = (f"198.18.0.{n}" for n in (1, 2, 3, 4))
RESOLVER = "198.18.0.9"
POSTHOUSE = "198.18.1.1"
EXTRA_USERS = {"posthouse": 989, "Debian-exim": 990, "opensmtpd": 991, "opensmtpq": 992}
PEER_PACKAGES = ("exim4-daemon-light", "opensmtpd")
PEERS = os.path.join(BUILD, "peers")
libc = ctypes.CDLL(None, use_errno=True)


# ---- the world ----

def fetch_peers():
    """Mail servers whose packages exclude Postfix: unpacked, not installed. What failed is said
    when a test wants one."""
    os.makedirs(PEERS, exist_ok=True)
    for package in PEER_PACKAGES:
        folder = os.path.join(PEERS, package)
        if os.path.isdir(folder):
            continue
        why = ""
        for command in (["download", package], ["update"], ["download", package]):
            found = glob.glob(os.path.join(PEERS, package + "_*.deb"))
            if found:
                break
            try:
                done = subprocess.run(["apt-get", "-q", *command], cwd=PEERS, capture_output=True,
                                      text=True, timeout=120)
                why = done.stderr.strip()
            except (OSError, subprocess.TimeoutExpired) as error:
                why = str(error)
        found = glob.glob(os.path.join(PEERS, package + "_*.deb"))
        if not found:
            print(f"# {package} cannot be fetched: {why[-300:]}", flush=True)
            continue
        shutil.rmtree(folder + ".new", ignore_errors=True)
        subprocess.run(["dpkg", "-x", found[0], folder + ".new"], check=True)
        os.rename(folder + ".new", folder)


def enter(name):
    """Goes on in namespaces of one's own; ends the process where they cannot be made."""
    if os.environ.get(INSIDE) == "1":
        return
    new = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    probe = ("mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add probe && "
             "ip link add type bridge && ip link add type veth peer netns probe")
    why = "only root can make network namespaces"
    if os.geteuid() == 0:
        done = subprocess.run([*new, "sh", "-c", probe], capture_output=True, text=True)
        why = done.stderr.strip().replace("\n", "; ") if done.returncode else None
    if why:
        print(f"ok - {name} # skip no network namespaces: {why}")
        sys.exit(0)
    fetch_peers()
    os.execvpe(new[0], [*new, sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


def sh(*args, stdin=None, cwd=None, timeout=60):
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, cwd=cwd,
                          timeout=timeout)
    check(done.returncode == 0, f"{' '.join(args)}: {done.stdout}{done.stderr}")
    return done.stdout


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def furnish():
    """Mounts over what the servers want to write to or to find."""
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for path in ("/run/netns", "/run/lock", HOME):
        os.makedirs(path)
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib")
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/spool")
    for kind, row in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/bin/sh"), ("group", "{0}:x:{1}:")):
        text = read("/etc/" + kind)
        for user, number in EXTRA_USERS.items():
            if not re.search(f"(?m)^{user}:", text):
                text += row.format(user, number) + "\n"
        sh("mount", "--bind", write(f"{HOME}/etc/{kind}", text), "/etc/" + kind)
    resolv = write(f"{HOME}/etc/resolv.conf",
                   f"nameserver {RESOLVER}\noptions trust-ad timeout:2 attempts:2\n")
    sh("mount", "--bind", resolv, "/etc/resolv.conf")
    sh("mount", "--bind", write(f"{HOME}/etc/nsswitch.conf", "passwd: files\ngroup: files\n"
                                "hosts: files dns\nservices: files\n"), "/etc/nsswitch.conf")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "br0", "type", "bridge")
    sh("ip", "link", "set", "br0", "up")


hosts = {}


def host(name, *addresses, silent=()):
    """A host with its addresses. Packets to `silent` ones leave it and arrive nowhere."""
    lines = ["link set lo up", "link set eth0 up"]
    sh("ip", "netns", "add", name)
    sh("ip", "link", "add", "v-" + name, "type", "veth", "peer", "name", "eth0", "netns", name)
    sh("ip", "link", "set", "v-" + name, "master", "br0", "up")
    for a in addresses:
        lines.append(f"addr add {a}/64 dev eth0 nodad" if ":" in a
                     else f"addr add {a}/16 dev eth0")
    lines += [f"neigh add {a} lladdr 02:00:00:00:00:99 dev eth0" for a in silent]
    sh("ip", "-n", name, "-batch", "-", stdin="\n".join(lines) + "\n")
    hosts[name] = os.open("/run/netns/" + name, os.O_RDONLY)
    return name


def cut(name, on=True):
    """The cable of a host is pulled, or put in again."""
    sh("ip", "link", "set", "v-" + name, "down" if on else "up")


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(name):
    """This thread, and what it starts, are on that host."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    setns(hosts[name])
    try:
        yield
    finally:
        setns(before)
        os.close(before)


class Program:
    """A program on a host, with its log. It ends with the world, of which this process is init."""

    def __init__(self, where, name, *args, env=None):
        self.name, self.path = name, f"{HOME}/log/{name}"
        os.makedirs(f"{HOME}/log", exist_ok=True)
        with open(self.path, "a") as log, inside(where):
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})})

    def alive(self):
        check(self.process.poll() is None, f"{self.name} has ended: {self.log()[-2000:]}")
        return True

    def log(self):
        return read(self.path)


def answers(where, address, port):
    with inside(where):
        try:
            socket.create_connection((address, port), 1).close()
            return True
        except OSError:
            return False


# ---- certificates ----

class Authority:
    """Makes certificates; one for each set of names, ECDSA."""

    def __init__(self, name):
        self.name = name
        self.pem, self.key = f"{HOME}/tls/{name}.pem", f"{HOME}/tls/{name}.key"
        os.makedirs(f"{HOME}/tls", exist_ok=True)
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
           "-nodes", "-days", "30", "-subj", "/CN=" + name, "-addext", "keyUsage=keyCertSign",
           "-keyout", self.key, "-out", self.pem)

    def certificate(self, *names, days=30, kind="ec"):
        """(chain, key): files. Negative days: it has expired."""
        label = f"{self.name}-{names[0]}" + ("-expired" if days < 0 else "")
        base = f"{HOME}/tls/{label}"
        alt = write(base + ".ext", "subjectAltName=" + ",".join("DNS:" + n for n in names) + "\n")
        option = {"ec": "ec_paramgen_curve:P-256", "rsa": "rsa_keygen_bits:2048"}[kind]
        sh("openssl", "req", "-newkey", kind, "-pkeyopt", option, "-nodes", "-subj",
           "/CN=" + names[0][:60], "-keyout", base + ".key", "-out", base + ".csr")
        sh("openssl", "x509", "-req", "-in", base + ".csr", "-CA", self.pem, "-CAkey", self.key,
           "-days", str(days), "-out", base + ".crt", "-extfile", alt)
        write(base + ".pem", read(base + ".crt") + read(self.pem))
        return base + ".pem", base + ".key"


def der(pem):
    return ssl.PEM_cert_to_DER_cert(re.search("-----BEGIN.*?-----END CERTIFICATE-----", read(pem),
                                              re.S).group(0))


def tlsa(usage, selector, pem):
    """The data of a TLSA record with SHA-256, of the first certificate in the file."""
    data = der(pem)
    if selector == 1:
        public = sh("openssl", "x509", "-in", pem, "-noout", "-pubkey")
        data = base64.b64decode("".join(public.strip().splitlines()[1:-1]))
    return f"{usage} {selector} 1 {hashlib.sha256(data).hexdigest()}"


def server_context(chain, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


# ---- the DNS ----

class Zone:
    """kind: signed, unsigned, expired (its signatures are), bogus (its parent has another key),
    live (Knot signs it and takes updates). Records are lines below its name; @ is itself."""

    def __init__(self, name, kind="signed", records="", ttl=300):
        self.name, self.kind, self.ds = name, kind, []
        self.file = f"{HOME}/dns/{name or 'root'}.zone"
        server = {"": "a.root-servers.net.", "test": "a.nic.test."}.get(name, "ns.nic.test.")
        self.text = (f"$ORIGIN {name}.\n$TTL {ttl}\n"
                     f"@ SOA {server} hostmaster.nic.test. 1 3600 600 864000 1\n@ NS {server}\n"
                     + records)

    def finish(self):
        write(self.file, self.text)
        if self.kind in ("unsigned", "live"):
            return self
        label = sh("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", self.name or ".",
                   cwd=f"{HOME}/dns").strip()
        begin, end = ("20200101", "20200201") if self.kind == "expired" else ("20250101",
                                                                              "20370101")
        sh("ldns-signzone", "-i", begin, "-e", end, "-f", self.file, self.file, label,
           cwd=f"{HOME}/dns")
        self.ds = [read(f"{HOME}/dns/{label}.ds").split("DS", 1)[1].strip()]
        if self.kind == "bogus":
            self.ds = [self.ds[0][:-64] + hashlib.sha256(b"another key").hexdigest()]
        return self


def delegate(zone):
    lines = f"{zone.name}. NS ns.nic.test.\n"
    return lines + "".join(f"{zone.name}. DS {ds}\n" for ds in zone.ds)


class Dns:
    """root, test. and all the domains, on three servers; and a fourth that knows nothing."""
    UPDATE_KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()

    def __init__(self, zones, reverse):
        os.makedirs(f"{HOME}/dns", exist_ok=True)
        host("dns", ROOT_SERVER, TEST_SERVER, DOMAIN_SERVER, LAME_SERVER)
        self.servers, self.sockets = [], {}
        live = [z for z in zones if z.kind == "live"]
        for z in zones:
            z.finish()
        for z in live:
            z.ds = self.make_key(z)
        nic = (f"a.nic A {TEST_SERVER}\nns.nic A {DOMAIN_SERVER}\nlame.nic A {LAME_SERVER}\n")
        below = [z for z in zones if z.name.endswith(".test")]
        test = Zone("test", records=nic + "".join(map(delegate, below))).finish()
        back = Zone("18.198.in-addr.arpa", "unsigned", reverse, ttl=1).finish()
        glue = (f"a.root-servers.net. A {ROOT_SERVER}\na.nic.test. A {TEST_SERVER}\n"
                f"ns.nic.test. A {DOMAIN_SERVER}\ntest. NS a.nic.test.\n"
                f"test. DS {test.ds[0]}\n18.198.in-addr.arpa. NS ns.nic.test.\n"
                + "".join(delegate(z) for z in zones if z not in below))
        root = Zone("", records=glue)
        root.text = root.text.replace("$ORIGIN ..", "$ORIGIN .")
        root.finish()
        self.anchor = ". IN DS " + root.ds[0]
        self.serve("root", ROOT_SERVER, [root])
        self.serve("test", TEST_SERVER, [test])
        self.serve("domains", DOMAIN_SERVER, [*zones, back])
        self.serve("lame", LAME_SERVER, [])
        self.resolver()

    def config(self, name, address, zones):
        sockets = f"{HOME}/dns/{name}"
        os.makedirs(sockets, exist_ok=True)
        text = f"""server:
    rundir: {sockets}
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    user: root
database:
    storage: {sockets}
log:
  - target: stderr
    any: info
key:
  - id: update
    algorithm: hmac-sha256
    secret: {self.UPDATE_KEY}
acl:
  - id: update
    key: update
    action: update
policy:
  - id: one
    single-type-signing: on
    algorithm: ecdsap256sha256
    ksk-lifetime: 0
template:
  - id: default
    storage: {sockets}
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
  - id: live
    storage: {sockets}
    zonefile-sync: -1
    zonefile-load: whole
    acl: update
zone:
"""
        for z in zones:
            text += (f"  - domain: {z.name or ''}.\n    file: {z.file}\n    template: "
                     f"{'live' if z.kind == 'live' else 'default'}\n")
            if z.kind == "live":
                text += "    dnssec-signing: on\n    dnssec-policy: one\n"
        return write(f"{sockets}/knot.conf", text.replace("zone:\n", "" if not zones else
                                                          "zone:\n"))

    def make_key(self, zone):
        conf = self.config("domains", DOMAIN_SERVER, [zone])
        sh("keymgr", "-c", conf, zone.name + ".", "generate", "algorithm=ecdsap256sha256",
           "ksk=yes", "zsk=yes")
        rows = sh("keymgr", "-c", conf, zone.name + ".", "ds").splitlines()
        return [r.split("DS", 1)[1].strip() for r in rows if " 13 2 " in r]

    def serve(self, name, address, zones):
        conf = self.config(name, address, zones)
        self.sockets[name] = f"{HOME}/dns/{name}/knot.sock"
        self.servers.append(Program("dns", "knot-" + name, "knotd", "-c", conf))
        wait_for(lambda: self.servers[-1].alive() and answers("dns", address, 53),
                 f"name server {name}: {self.servers[-1].log()}")

    def resolver(self):
        host("resolver", RESOLVER)
        conf = write(f"{HOME}/dns/unbound.conf", f"""server:
    directory: "{HOME}/dns"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    interface: {RESOLVER}
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    module-config: "validator iterator"
    trust-anchor: "{self.anchor}"
    local-zone: "test." nodefault
    cache-max-negative-ttl: 1
stub-zone:
    name: "."
    stub-addr: {ROOT_SERVER}
remote-control:
    control-enable: no
""")
        self.servers.append(Program("resolver", "unbound", "unbound", "-c", conf))
        wait_for(lambda: self.servers[-1].alive() and answers("resolver", RESOLVER, 53),
                 "the resolver")

    def control(self, *args):
        return sh("knotc", "-s", self.sockets["domains"], *args)

    def change(self, zone, *steps):
        """("unset", name, type) and ("set", name, ttl, type, data), in one transaction."""
        self.control("zone-begin", zone)
        for step in steps:
            self.control("zone-" + step[0], zone, *map(str, step[1:]))
        self.control("zone-commit", zone)


# ---- Posthouse ----

SETTINGS = {
    "auth": {"plain_on_loopback": "yes"},
    "queue": {"retry_first": "1s", "retry_max": "2s"},
    "relay": {"connect_timeout": "2s", "reply_timeout": "3s", "attempt_timeout": "12s",
              "idle_timeout": "2s"},
    "resolver": {"timeout": "4s"},
    "mail_auth": {"deadline": "5s"},
    "listen": {"imaps": "*:993", "https": "*:443"},
    "mta_sts": {"mode": "enforce"},
}
PASSWORD = "a long secret for tests"


class Posthouse:
    """posthouse init and serve, as root, on a host of its own. Has what posthouse.smtp and the
    others there want of a server."""
    ports = {"smtp": 25, "submission": 587, "submissions": 465, "pop3": 110}

    def __init__(self, where, domain, users, dns, authority, settings):
        self.where, self.domain, self.ca = where, domain, authority.pem
        self.folder = f"{HOME}/{where}"
        self.config = f"{self.folder}/posthouse.conf"
        self.users = [f"{u}@{domain}" for u in users]
        self.info, self.seen = {"lmtp": None}, {}
        self.do("init", domain, f"--data={self.folder}/data", f"--password={PASSWORD}")
        self.chain, key = authority.certificate("mail." + domain, "mta-sts." + domain)
        sections = {**SETTINGS, "tls": {"certificates": f"{self.chain} {key}"}}
        sections["resolver"] = {**sections["resolver"], "zones": f". {ROOT_SERVER}",
                                "trust_anchors": dns.anchor}
        for name, keys in settings.items():
            sections[name] = {**sections.get(name, {}), **keys}
        text = re.sub(r"(?s)\[tls\].*", "", read(self.config))
        for name, keys in sections.items():
            text += f"\n[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
        write(self.config, text)
        for user in self.users:
            self.do("account", "add", user, f"--password={PASSWORD}")

    def start(self):
        self.program = Program(self.where, self.where, PROGRAM, "serve", "--config", self.config,
                               env={"SSL_CERT_FILE": self.ca})
        wait_for(lambda: self.program.alive() and answers(self.where, "127.0.0.1", 25),
                 "Posthouse")

    def do(self, *args, ok=True):
        """posthouse ARGS → (exit code, output)."""
        with inside(self.where):
            done = subprocess.run([PROGRAM, *args, "--config", self.config], capture_output=True,
                                  text=True, timeout=60)
        check(not ok or done.returncode == 0,
              f"posthouse {' '.join(args)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.returncode, done.stdout + done.stderr

    def address(self, i=0):
        return self.users[i]

    def password(self, _=0):
        return PASSWORD

    def queue(self):
        return json.loads(self.do("queue", "list", "--limit=1000", "--json")[1])["messages"]

    def trace(self, number):
        return self.do("queue", "trace", str(number))[1]

    def wire(self, tls=False):
        """A signed-in connection to the submission port, from this host."""
        with inside(self.where):
            wire = Wire(587)
        equal(wire.reply()[0], 220, "greeting")
        equal(wire.ask("EHLO client.test")[0], 250, "EHLO")
        if tls:
            equal(wire.ask("STARTTLS")[0], 220, "STARTTLS")
            wire.start_tls(self.ca)
            wire.ask("EHLO client.test")
        secret = f"\0{self.users[0]}\0{PASSWORD}".encode()
        equal(wire.ask("AUTH PLAIN " + base64.b64encode(secret).decode())[0], 235, "AUTH")
        equal(wire.ask("EHLO client.test")[0], 250, "EHLO")
        return wire

    def mail(self, i=0):
        """All messages of a user, as bytes. Each is read once."""
        kept = self.seen.setdefault(i, {})
        with inside(self.where):
            wire = pop3(self, i)
        with wire:
            wire.send("UIDL\r\n")
            for line in (wire.multiline()[1] or b"").splitlines():
                number, uid = line.split()
                if uid not in kept:
                    wire.send(b"RETR " + number + b"\r\n")
                    kept[uid] = wire.multiline()[1]
            wire.send("QUIT\r\n")
            wire.line()
        return list(kept.values())

    def found(self, text, i=0):
        """Messages of a user that hold the text."""
        text = text.encode() if isinstance(text, str) else text
        return [m for m in self.mail(i) if text in m]


# ---- web hosts of MTA-STS policies ----

class PolicyWeb:
    """One HTTPS server for all policies, by the name that the client says in TLS (SNI).
    policies: {domain: (certificate, text or None)}; None is 404."""

    def __init__(self, where, address, policies):
        self.asked, self.policies, web = [], policies, self
        contexts = {f"mta-sts.{d}": server_context(*c) for d, (c, _) in policies.items()}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.headers["Host"]
                web.asked.append(name)
                text = policies.get(name[len("mta-sts."):], (None, None))[1]
                good = text and self.path == "/.well-known/mta-sts.txt"
                self.send_response(200 if good else 404)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write((text if good else "no").encode())

            def log_message(self, *_):
                pass

        def choose(connection, name, _):
            if name in contexts:
                connection.context = contexts[name]

        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.load_cert_chain(*next(iter(policies.values()))[0])
        first.sni_callback = choose

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                connection, peer = self.socket.accept()
                connection.settimeout(5)
                return first.wrap_socket(connection, server_side=True,
                                         do_handshake_on_connect=False), peer

            def handle_error(self, *_):
                pass  # a client that refuses the certificate

        with inside(where):
            self.server = Server((address, 443), Handler)
            threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def keep_logs():
    """For whoever looks into a failure: INTERNET_KEEP names a folder."""
    folder = os.environ.get("INTERNET_KEEP")
    if folder:
        shutil.copytree(HOME, folder, dirs_exist_ok=True, ignore_dangling_symlinks=True,
                        ignore=lambda d, names: [n for n in names if not (
                            os.path.isfile(f"{d}/{n}") or os.path.isdir(f"{d}/{n}"))])
