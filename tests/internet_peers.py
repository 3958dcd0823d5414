# SPDX-License-Identifier: Apache-2.0
"""The rest of the world of tests/internet.py: Postfix, Exim and OpenSMTPD from Debian. Each is a
host with two addresses: the first offers STARTTLS (NAME.test), the second does not
(plain.NAME.test). The users max and mia have mail; what comes lies in a folder, one file each."""
import os
import shutil
import smtplib

from internet import EXTRA_USERS, HOME, PEERS, Program, answers, host, inside, read, sh, write
from posthouse import Skip, wait_for

USERS = ("max", "mia", "mäx")
NOBODY = 65534
POSTFIX_SERVICES = """pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Peer:
    key_kind = "ec"

    def __init__(self, name, first, second, authority, **more):
        self.name, self.first, self.second, self.more = name, first, second, more
        self.domain, self.hostname = f"{name}.test", f"mail.{name}.test"
        self.folder = f"{HOME}/{name}"
        self.box = f"{self.folder}/mail"
        os.makedirs(self.folder)
        host(name, first, second)
        self.chain, self.key = authority.certificate(self.hostname, kind=self.key_kind)
        self.start()
        for address in ("127.0.0.1", first, second):
            wait_for(lambda: self.program.alive() and answers(name, address, 25),
                     f"{name} on {address}: {self.log()[-2000:]}")

    def log(self):
        return self.program.log()

    def make_box(self, user):
        os.makedirs(self.box)
        os.chown(self.box, user, user)

    def binary(self, package, path):
        """Where the unpacked program is, in reach of every user."""
        source = os.path.join(PEERS, package, path)
        if not os.path.exists(source):
            raise Skip(f"{package} could not be fetched from the package registry")
        missing = [line.strip() for line in sh("ldd", source).splitlines() if "not found" in line]
        if missing:
            raise Skip(f"{package} lacks libraries (tools/packages.txt): {missing}")
        target = f"{HOME}/bin/{os.path.basename(path)}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return shutil.copy2(source, target)

    def files(self):
        return [os.path.join(at, n) for at, _, names in os.walk(self.box) for n in names
                if os.path.basename(at) in ("new", "cur")]

    def found(self, text):
        """Messages in the boxes here that hold the text; as bytes."""
        got = []
        for path in self.files():
            with open(path, "rb") as f:
                data = f.read()
            if text.encode() in data:
                got.append(data)
        return got

    def send(self, sender, to, data, mail=(), rcpt=()):
        """From a program on that host."""
        with inside(self.name):
            client = smtplib.SMTP("127.0.0.1", 25, timeout=20, local_hostname=self.hostname)
        with client:
            client.sendmail(sender, to, data, mail, rcpt)


class Postfix(Peer):
    def start(self):
        self.make_box(NOBODY)
        config, queue, data = (f"{self.folder}/{n}" for n in ("config", "queue", "data"))
        for path in (queue, data):
            os.makedirs(path)
        shutil.chown(data, "postfix", "postfix")
        maps = " ".join(f"{{{u}@{d}={u}/}}" for u in USERS
                        for d in (self.domain, "plain." + self.domain))
        back = self.more["loop"]
        write(f"{config}/main.cf", f"""
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
mail_owner = postfix
setgid_group = postdrop
myhostname = {self.hostname}
mydestination =
inet_protocols = ipv4
virtual_mailbox_domains = {self.domain} plain.{self.domain}
virtual_mailbox_base = {self.box}
virtual_mailbox_maps = inline:{{ {maps} }}
virtual_alias_maps = inline:{{ {{loop@{self.domain}={back}}} }}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
mynetworks = 127.0.0.0/8
message_size_limit = 60000000
virtual_mailbox_limit = 0
smtpd_tls_cert_file = {self.chain}
smtpd_tls_key_file = {self.key}
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
smtp_tls_policy_maps = inline:{{ {{plain.posthouse.test=none}} }}
smtp_tls_loglevel = 1
smtputf8_enable = yes
maillog_file = {self.folder}/log
maillog_file_prefixes = {self.folder}
alias_maps =
alias_database =
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
""")
        rows = [f"127.0.0.1:25 inet n - n - - smtpd", f"{self.first}:25 inet n - n - - smtpd "
                "-o smtpd_tls_security_level=may", f"{self.second}:25 inet n - n - - smtpd"]
        write(f"{config}/master.cf", "\n".join(rows) + "\n" + POSTFIX_SERVICES)
        with inside(self.name):
            sh("postfix", "-c", config, "check")
        self.program = Program(self.name, self.name, "postfix", "-c", config, "start-fg")

    def log(self):
        return read(f"{self.folder}/log") + self.program.log()


class Exim(Peer):
    def start(self):
        program = self.binary("exim4-daemon-light", "usr/sbin/exim4")
        os.chmod(program, 0o4755)  # it takes root's rights back to deliver
        self.make_box(EXTRA_USERS["Debian-exim"])
        for path in ("spool", "logs"):
            os.makedirs(f"{self.folder}/{path}")
            shutil.chown(f"{self.folder}/{path}", "Debian-exim", "Debian-exim")
        for path in (self.key, self.more["dkim"]):
            shutil.chown(path, "Debian-exim", "Debian-exim")
        write("/var/lib/exim4/config.autogenerated", f"""
primary_hostname = {self.hostname}
exim_path = {program}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/logs/%slog
pid_file_path = {self.folder}/exim.pid
domainlist local_domains = {self.domain} : plain.{self.domain}
local_interfaces = 127.0.0.1 : {self.first} : {self.second}
disable_ipv6 = true
tls_certificate = {self.chain}
tls_privatekey = {self.key}
tls_advertise_hosts = ${{if eq{{$received_ip_address}}{{{self.first}}}{{*}}{{}}}}
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_connect_advertise_hosts =
message_size_limit = 60M
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
acl_smtp_dkim = acl_dkim
dns_dnssec_ok = 1
host_lookup =
rfc1413_hosts =
keep_environment =
never_users =
allow_mx_to_ip = false
begin acl
acl_rcpt:
  accept hosts = 127.0.0.1
         control = dkim_disable_verify
  accept domains = +local_domains
         verify = recipient
  deny message = relaying is not for strangers
acl_data:
  accept
acl_dkim:
  accept dkim_status = pass
         add_header = X-Signer: $dkim_cur_signer
  accept
begin routers
here:
  driver = accept
  domains = +local_domains
  local_parts = {" : ".join(USERS)}
  transport = box
plain:
  driver = dnslookup
  domains = plain.posthouse.test
  transport = out_plain
  no_more
there:
  driver = dnslookup
  domains = ! +local_domains
  transport = out
  dnssec_request_domains = *
  no_more
begin transports
out:
  driver = smtp
  hosts_try_dane = *
  dnssec_request_domains = *
  dkim_domain = {self.domain}
  dkim_selector = exim
  dkim_private_key = {self.more["dkim"]}
out_plain:
  driver = smtp
  hosts_avoid_tls = *
  hosts_try_dane =
box:
  driver = appendfile
  directory = {self.box}
  maildir_format
  create_directory
  user = Debian-exim
  group = Debian-exim
  envelope_to_add
begin retry
* * F,10m,2s
""")
        self.program = Program(self.name, self.name, program, "-bdf", "-q2s")

    def log(self):
        return read(f"{self.folder}/logs/mainlog") + read(
            f"{self.folder}/logs/paniclog") + self.program.log()


class OpenSmtpd(Peer):
    """Debian's build cannot take STARTTLS: its key process and OpenSSL 3 do not find each other,
    the handshake fails, and mail to it goes on without (RFC 7435)."""
    key_kind = "rsa"

    def start(self):
        program = self.binary("opensmtpd", "usr/sbin/smtpd")
        sh("mount", "--bind", os.path.join(PEERS, "opensmtpd/usr/libexec"), "/usr/libexec")
        os.makedirs("/var/lib/opensmtpd/empty")
        self.make_box(NOBODY)
        os.chmod(self.key, 0o600)
        base = ", ".join(f'{u} = "65534:65534:{self.box}"' for u in USERS[:2])
        conf = write(f"{self.folder}/smtpd.conf", f"""
pki mail cert "{self.chain}"
pki mail key "{self.key}"
smtp max-message-size 60M
table base {{ {base} }}
listen on 127.0.0.1 hostname {self.hostname}
listen on {self.first} tls pki mail hostname {self.hostname}
listen on {self.second} hostname {self.hostname}
action "in" maildir "{self.box}" userbase <base>
action "out" relay helo {self.hostname}
action "plain" relay host "smtp+notls://mail.posthouse.test" helo {self.hostname}
match from any for domain {{ "{self.domain}", "plain.{self.domain}" }} action "in"
match from local for domain "plain.posthouse.test" action "plain"
match from local for any action "out"
""", 0o600)
        self.program = Program(self.name, self.name, program, "-d", "-v", "-f", conf)
