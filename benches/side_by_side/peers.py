"""The peers' configurations and commands.

Every one gets one thread that answers, no query log, caches of the same size, and what its own
manual says for speed. Whoever can reach it may ask: it stands in namespaces of the run's own.
"""

from facts import PRIVATE_ADDRESS, PUBLIC, UPSTREAM, private_names

# Entries, where a server counts those and not octets: all names of a round fit.
CACHE_ENTRIES = 1_000_000


def zone_file(place, wildcard=True):
    """The two private zones as one: every name listed as CNAME, a wildcard holds the address.

    Without `wildcard` every target is listed too: Unbound follows a CNAME to listed names alone.
    """
    lines = [
        f"$ORIGIN {PUBLIC}.",
        "$TTL 60",
        f"@ SOA {PUBLIC}. nobody.invalid. 1 3600 600 86400 10",
        f"@ NS ns.{PUBLIC}.",
        f"ns A {PRIVATE_ADDRESS}",
    ]
    if wildcard:
        lines.append(f"*.privatelink A {PRIVATE_ADDRESS}")
    for name in private_names():
        label = name.split(".", 1)[0]
        lines.append(f"{label} CNAME {label}.privatelink")
        if not wildcard:
            lines.append(f"{label}.privatelink A {PRIVATE_ADDRESS}")
    return place.write("private.zone", "\n".join(lines) + "\n")


def nsd(place):
    config = place.write("nsd.conf", f"""
server:
  server-count: 1
  ip-address: {place.address}@{place.port}
  username: ""
  database: ""
  zonesdir: "{place.folder}"
  pidfile: ""
  xfrdfile: "{place.folder}/xfrd.state"
  zonelistfile: "{place.folder}/zone.list"
  xfrdir: "{place.folder}"
  minimal-responses: yes
  # Debian builds the limiter in; its default answers 200 a second of one network.
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: {PUBLIC}
  zonefile: {zone_file(place)}
""")
    return ["/usr/sbin/nsd", "-d", "-c", config]


def knot(place):
    config = place.write("knot.conf", f"""
server:
    rundir: {place.folder}
    listen: {place.address}@{place.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: error
database:
    storage: {place.folder}
zone:
  - domain: {PUBLIC}
    storage: {place.folder}
    file: {zone_file(place)}
    zonefile-sync: -1
    journal-content: none
""")
    return ["/usr/sbin/knotd", "-c", config]


def unbound(place):
    config = place.write("unbound.conf", f"""
server:
  interface: {place.address}
  port: {place.port}
  access-control: 0.0.0.0/0 allow
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{place.folder}"
  use-syslog: no
  num-threads: 1
  so-reuseport: yes
  so-rcvbuf: 4m
  so-sndbuf: 4m
  incoming-num-tcp: 100
  outgoing-range: 8192
  num-queries-per-thread: 4096
  # Its manual's proportion: twice as much for RRsets as for messages.
  msg-cache-size: {place.cache_mib // 2}m
  rrset-cache-size: {place.cache_mib}m
  msg-cache-slabs: 1
  rrset-cache-slabs: 1
  infra-cache-slabs: 1
  key-cache-slabs: 1
  minimal-responses: yes
  module-config: "iterator"
  do-not-query-localhost: no
auth-zone:
  name: {PUBLIC}
  zonefile: {zone_file(place, wildcard=False)}
  for-upstream: no
forward-zone:
  name: .
  forward-addr: {UPSTREAM[0]}@{UPSTREAM[1]}
remote-control:
  control-enable: no
""")
    return ["/usr/sbin/unbound", "-d", "-c", config]


def dnsdist(place, batch=64):
    # Without the setting it takes one datagram a call, its default.
    batches = f"setUDPMultipleMessagesVectorSize({batch})" if batch > 1 else ""
    config = place.write("dnsdist.conf", f"""
setLocal("{place.address}:{place.port}", {{reusePort=true}})
{batches}
setMaxTCPClientThreads(1)
setACL("0.0.0.0/0")
setSecurityPollSuffix("")
newServer({{address="{UPSTREAM[0]}:{UPSTREAM[1]}", healthCheckMode="up"}})
getPool(""):setCache(newPacketCache({CACHE_ENTRIES}, {{numberOfShards=1}}))
addAction("{PUBLIC}.", SpoofAction({{"{PRIVATE_ADDRESS}"}}, {{ttl=60}}))
""")
    return ["/usr/bin/dnsdist", "--supervised", "--disable-syslog", "-C", config]


def recursor(place):
    place.write("recursor.conf", f"""
local-address={place.address}
local-port={place.port}
allow-from=0.0.0.0/0
daemon=no
quiet=yes
loglevel=3
disable-syslog=yes
socket-dir={place.folder}
threads=1
pdns-distributes-queries=no
dnssec=off
qname-minimization=no
security-poll-suffix=
max-cache-entries={CACHE_ENTRIES}
max-packetcache-entries={CACHE_ENTRIES}
max-mthreads=8192
max-concurrent-requests-per-tcp-connection=250
dont-query=
auth-zones={PUBLIC}={zone_file(place)}
forward-zones-recurse=.={UPSTREAM[0]}:{UPSTREAM[1]}
""")
    return ["/usr/sbin/pdns_recursor", f"--config-dir={place.folder}"]


def kresd(place):
    config = place.write("kresd.conf", f"""
net.listen('{place.address}', {place.port}, {{ kind = 'dns' }})
trust_anchors.remove('.')
modules.unload('ta_signal_query')
modules.unload('ta_sentinel')
modules.unload('priming')
modules.unload('detect_time_skew')
cache.open({place.cache_mib} * MB, 'lmdb://{place.folder}/cache')
policy.add(policy.suffix(
  policy.ANSWER(
    {{ [kres.type.A] = {{ rdata = kres.str2ip('{PRIVATE_ADDRESS}'), ttl = 60 }} }}, true),
  {{ todname('{PUBLIC}.') }}))
policy.add(policy.all(policy.STUB('{UPSTREAM[0]}@{UPSTREAM[1]}')))
""")
    return ["/usr/sbin/kresd", "-n", "-q", "-c", config, place.folder]


def bind(place):
    config = place.write("named.conf", f"""
options {{
  directory "{place.folder}";
  pid-file none;
  session-keyfile none;
  listen-on port {place.port} {{ {place.address}; }};
  listen-on-v6 {{ none; }};
  allow-query {{ any; }};
  allow-recursion {{ any; }};
  allow-query-cache {{ any; }};
  recursion yes;
  recursive-clients 10000;
  dnssec-validation no;
  qname-minimization off;
  empty-zones-enable no;
  minimal-responses yes;
  max-cache-size {place.cache_mib}M;
  forward only;
  forwarders {{ {UPSTREAM[0]} port {UPSTREAM[1]}; }};
}};
controls {{ }};
zone "{PUBLIC}" {{ type primary; file "{zone_file(place)}"; }};
""")
    return ["/usr/sbin/named", "-g", "-4", "-n", "1", "-c", config]


def dnsmasq(place):
    return [
        "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
        "--group=root", "--pid-file", "--no-resolv", "--no-hosts", "--bind-interfaces",
        f"--listen-address={place.address}", f"--port={place.port}", "--log-facility=/dev/null",
        f"--server={UPSTREAM[0]}#{UPSTREAM[1]}", f"--address=/{PUBLIC}/{PRIVATE_ADDRESS}",
        # 10,000 is the most that it takes; a thousand names are asked again.
        "--local-ttl=60", "--cache-size=10000", "--dns-forward-max=10000",
    ]


def hickory(place, program):
    config = place.write("hickory.toml", f"""
listen_addrs_ipv4 = ["{place.address}"]
listen_port = {place.port}
# The default group, nobody, is not Debian's.
user = "root"
group = "root"

[[zones]]
zone = "{PUBLIC}"
zone_type = "Primary"
file = "{zone_file(place)}"

[[zones]]
zone = "."
zone_type = "External"

[zones.stores]
type = "forward"
name_servers = [
  {{ ip = "{UPSTREAM[0]}", trust_negative_responses = true, connections = [
    {{ port = {UPSTREAM[1]}, protocol = {{ type = "udp" }} }} ] }}
]
options = {{ cache_size = {CACHE_ENTRIES} }}
""")
    return [program, "--quiet", "--workers", "1", "--zonedir", place.folder, "-c", config]
