"""The servers under test: privatelinkd and its peers, each configured as its own manual advises for
bad upstreams, asking two upstreams of which the first is preferred.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import machine
import message
from facts import PRIVATE_ADDRESS

PORT = 53
OURS = "privatelinkd"
PLAIN, TCP, TLS, HTTPS = "plain", "tcp", "tls", "https"
DOT, DOH = 853, 443
DOH_PATH = "/dns-query"
# Where the upstreams' dnsdist takes plain DNS, which nobody asks it.
DOH_FRONT_PORT = 5300
# What the upstreams' certificate says.
TLS_NAME = "upstream.names.example"


@dataclass(frozen=True)
class Place:
    """Where one server stands, and what it forwards to."""

    folder: Path
    address: str
    upstreams: tuple
    transport: str
    authority: Path  # the certificate that signed the upstreams'
    keeps_cache: bool = False  # over a restart, where the server can
    # Who resolves the upstreams' host names; None: the server is told their addresses.
    hosts: str | None = None

    @property
    def names(self):
        """The upstreams as the server is told them."""
        return [message.host_of(one) if self.hosts else one for one in self.upstreams]

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Server:
    name: str
    program: str
    command: Callable[[Place], list]
    version: tuple
    package: str | None = None


def privatelinkd(binary):
    def command(place):
        before, behind = {
            PLAIN: ("", ""), TCP: ("tcp://", ""), TLS: ("tls://", f"#{TLS_NAME}"),
            HTTPS: ("https://", f"{DOH_PATH}#{TLS_NAME}"),
        }[place.transport]
        upstreams = ", ".join(f'"{before}{one}{behind}"' for one in place.names)
        trust = f'ca-file   = "{place.authority}"' if place.transport in (TLS, HTTPS) else ""
        hosts = (
            f'[[forward]]\nzones = ["{message.HOSTS_ZONE}"]\nupstreams = ["{place.hosts}"]'
            if place.hosts else ""
        )
        cache = f'[cache]\nfile = "{place.folder}/cache"' if place.keeps_cache else ""
        config = place.write("privatelinkd.toml", f"""
[listen]
dns = ["{place.address}:{PORT}"]

[[private-link]]
service = "defender-for-containers"

[[private-link.endpoint]]
name      = "hub"
addresses = ["{PRIVATE_ADDRESS}"]

[[forward]]
zones     = ["."]
upstreams = [{upstreams}]
{trust}

{hosts}

{cache}
""")
        return [binary, "run", "--config", config]

    return command


def unbound(place):
    """Stale as its manual recommends; without infra-keep-probing a forwarder that was down is asked
    again after 15 minutes only."""
    if place.transport == HTTPS:
        raise machine.Missing("it asks no upstream over HTTPS")
    port = {PLAIN: "", TCP: "", TLS: f"@{DOT}#{TLS_NAME}"}[place.transport]
    transport = {
        PLAIN: "",
        TCP: "  forward-tcp-upstream: yes\n",
        TLS: "  forward-tls-upstream: yes\n",
    }[place.transport]
    kind = "host" if place.hosts else "addr"
    forwarders = "".join(f"  forward-{kind}: {one}{port}\n" for one in place.names)
    hosts = (
        f"forward-zone:\n  name: {message.HOSTS_ZONE}\n  forward-addr: {place.hosts}\n"
        if place.hosts else ""
    )
    config = place.write("unbound.conf", f"""
server:
  interface: {place.address}
  access-control: 0.0.0.0/0 allow
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{place.folder}"
  use-syslog: no
  num-threads: 2
  module-config: "iterator"
  tls-cert-bundle: "{place.authority}"
  prefetch: yes
  serve-expired: yes
  serve-expired-ttl: 86400
  serve-expired-client-timeout: 1800
  infra-keep-probing: yes
  ede: yes
  ede-serve-expired: yes
forward-zone:
  name: .
{transport}{forwarders}
{hosts}
remote-control:
  control-enable: no
""")
    return ["/usr/sbin/unbound", "-d", "-c", config]


def dnsdist(place):
    """In order, a health check every second (its default, and its shortest), stale answers while no
    upstream is up and SERVFAIL where there is none, not silence; new sockets when an upstream comes
    back, which its manual has for interfaces that come and go."""
    if place.hosts:
        raise machine.Missing("it knows its upstreams by address alone")
    tls = (f', tls="openssl", subjectName="{TLS_NAME}", caStore="{place.authority}", '
           "validateCertificates=true")
    transport, port = {
        PLAIN: ("", PORT), TCP: (", tcpOnly=true", PORT), TLS: (tls, DOT),
        HTTPS: (f'{tls}, dohPath="{DOH_PATH}"', DOH),
    }[place.transport]
    servers = "".join(
        f'newServer({{address="{one}:{port}", order={order}, checkName="check.{message.ZONE}.", '
        f"mustResolve=true, reconnectOnUp=true{transport}}})\n"
        for order, one in enumerate(place.upstreams, 1)
    )
    config = place.write("dnsdist.conf", f"""
setLocal("{place.address}:{PORT}")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
{servers}
setServerPolicy(firstAvailable)
setServFailWhenNoServer(true)
setStaleCacheEntriesTTL(86400)
getPool(""):setCache(newPacketCache(100000, {{maxTTL=86400, staleTTL=30, keepStaleData=true}}))
""")
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def doh_front(place, certificate, key, behind):
    """dnsdist once more, as the upstreams' side of DNS over HTTPS."""
    binds = "".join(
        f'addDOHLocal("{one}:{DOH}", "{certificate}", "{key}", "{DOH_PATH}")\n'
        for one in place.upstreams
    )
    config = place.write("doh-front.conf", f"""
setLocal("{behind}:{DOH_FRONT_PORT}")
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
{binds}
newServer({{address="{behind}:{PORT}", healthCheckMode="up"}})
""")
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def all_of(binary):
    return [
        Server(OURS, str(binary), privatelinkd(binary), (str(binary), "--version")),
        Server("Unbound", "/usr/sbin/unbound", unbound, ("unbound", "-V"), "unbound"),
        Server("dnsdist", "/usr/bin/dnsdist", dnsdist, ("dnsdist", "--version"), "dnsdist"),
    ]
