# SPDX-License-Identifier: Apache-2.0
"""`posthouse serve` over certificates of a test's own, and handshakes with it."""
import os
import signal
import socket
import ssl
import subprocess
import warnings

from posthouse import Newcomer, equal, free_ports, listens, wait_for

warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are meant
KINDS = {"ecdsa": "ec -pkeyopt ec_paramgen_curve:P-256", "rsa": "rsa:2048"}


class Service:
    """`posthouse serve` with certificates of the test's own; one TLS port and one with STARTTLS."""

    def __init__(self, folder, certificates):
        self.me = Newcomer(folder)
        self.tls, self.plain, self.imaps = free_ports(3)
        self.me.do("posthouse init example.org --config c.conf --data data")
        self.settings(certificates)
        self.process = self.me.start("posthouse serve --config c.conf")
        wait_for(lambda: self.process.poll() is not None or listens(self.plain),
                 "the server")

    def make(self, name, kind, host, serial):
        self.me.do(f"openssl req -x509 -newkey {KINDS[kind]} -nodes -days 30 -subj /CN={host} "
                   f"-set_serial {serial} -addext subjectAltName=DNS:{host} "
                   f"-keyout {name}.key -out {name}.pem")

    def settings(self, certificates, more=""):
        for name, (kind, host, serial) in certificates.items():
            self.make(name, kind, host, serial)
        entries = ", ".join(f"{name}.pem {name}.key" for name in certificates)
        listen = f"smtp = 127.0.0.1:{self.plain}\nsubmissions = 127.0.0.1:{self.tls}\n" \
                 f"imaps = 127.0.0.1:{self.imaps}\n" + "".join(
                     f"{name} =\n" for name in ("submission", "pop3", "pop3s", "imap"))
        path = os.path.join(self.me.folder, "c.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"[server]\nhostname = mail.example.org\ndata = {self.me.folder}/data\n"
                    f"[tls]\ncertificates = {entries}\n{more}[listen]\n{listen}")
        os.chmod(path, 0o644)

    def reload(self, ok=True):
        return self.me.do("posthouse ctl reload --config c.conf", ok=ok)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=20)
        if failure:
            print("\n".join(f"# {line}" for text in said if text
                            for line in str(text).splitlines()[-30:]))
        else:
            equal(self.process.returncode, 0, "exit status of serve")


def client(ciphers=None, low=None, high=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        context.set_ciphers(ciphers)
    if low:
        context.minimum_version = low
    if high:
        context.maximum_version = high
    return context


def shake(port, name=None, **how):
    """(version, serial number of the certificate), or None when the server refuses."""
    raw = socket.create_connection(("127.0.0.1", port), 10)
    try:
        with client(**how).wrap_socket(raw, server_hostname=name) as wire:
            der = wire.getpeercert(binary_form=True)
            shown = subprocess.run(["openssl", "x509", "-inform", "der", "-noout", "-serial"],
                                   input=der, capture_output=True, check=True).stdout.decode()
            equal(wire.recv(4), b"220 ", "greeting")
            return wire.version(), int(shown.strip().partition("=")[2], 16)
    except (ssl.SSLError, ConnectionResetError):
        return None
    finally:
        raw.close()


TWO_KINDS = {"ec": ("ecdsa", "mail.example.org", 1), "rsa": ("rsa", "mail.example.org", 2),
             "other": ("ecdsa", "*.other.test", 3)}
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
