"""The machines of one chapter: hosts in network namespaces on one LAN, an overlay over the folders
that the guide writes to, and programs that stand in for az, cargo, systemctl and kubectl.

Everything lies in namespaces of the calling process, so it ends with that process. Knows nothing of
the guide's text.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "interop"))
import machine  # noqa: E402

# Folders that the guide writes to as root.
WRITTEN = ["/etc", "/usr/bin"]
WORK = Path("/run/guide")
CHECKOUT = WORK / "checkout"
SECONDS = 60

# The host that the guide is followed on, and the others of its examples.
US = "10.0.0.21"
SECOND = "10.0.0.22"
DNS = "10.0.0.10"
UPSTREAMS = ["10.0.0.4", "10.0.0.5", "168.63.129.16"]
CLIENT_WEU, CLIENT_NEU = "10.1.2.3", "10.2.2.3"
HOSTS = {
    "world": UPSTREAMS,
    "dns": [DNS],
    "second": [SECOND],
    "client": [CLIENT_WEU, CLIENT_NEU],
    "weu": ["10.1.0.5", "10.1.0.6"],
    "neu": ["10.2.0.5", "10.2.0.6"],
}

UNBOUND = """
server:
  {interfaces}
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  num-threads: 1
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
{options}
"""
# What Debian's package has, and the socket that unbound-control uses without certificates.
ON_PREM = f"""
forward-zone:
  name: "."
  forward-addr: {UPSTREAMS[0]}
remote-control:
  control-enable: yes
  control-interface: /run/unbound.ctl
include-toplevel: "/etc/unbound/unbound.conf.d/*.conf"
"""
# Everything that exists outside of Azure's private zones. The private names are public here: an
# answer with one of these addresses has passed privatelinkd by.
PUBLIC = "198.51.100.7"
WORLD = f"""
  local-zone: "." static
  local-data: ". 3600 IN SOA a.root.test. nobody.invalid. 1 3600 300 2419200 10"
  local-data: ". 3600 IN NS a.root.test."
  local-data: "www.example.com. 300 IN A 192.0.2.80"
  local-data: "api.cloud.defender.microsoft.com. 60 IN A {PUBLIC}"
  local-data: "data.westeurope.cloud.defender.microsoft.com. 60 IN A {PUBLIC}"
"""
CLUSTER = """
  local-data: "www.example.com. 300 IN A 192.0.2.80"
  local-zone: "cluster.local." static
  local-data: "cluster.local. 30 IN SOA ns.dns.cluster.local. nobody.invalid. 1 3600 300 2419200 10"
  local-data: "kubernetes.default.svc.cluster.local. 30 IN A 10.0.0.1"
"""


class Refused(Exception):
    """The machine does not give what the run needs."""


def ip(line):
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise Refused(f"ip {line}: {done.stderr.strip()}")


def build(binary):
    """Lays out folders and hosts; called once, inside fresh namespaces."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    for folder in WRITTEN:
        own = WORK / "overlay" / folder.strip("/").replace("/", "-")
        for part in ("upper", "work"):
            (own / part).mkdir(parents=True)
        options = f"lowerdir={folder},upperdir={own}/upper,workdir={own}/work"
        mounted = ["mount", "-t", "overlay", "overlay", "-o", options, folder]
        if subprocess.run(mounted, capture_output=True).returncode:
            raise Refused(f"no overlay over {folder}")
    # A clone of the repository, as far as the guide uses one.
    CHECKOUT.mkdir(parents=True)
    for part in ("config", "systemd"):
        (CHECKOUT / part).symlink_to(ROOT / part)
    # unbound-control and unbound-checkconf, as a package of Debian has them set up.
    Path("/etc/unbound/unbound.conf.d").mkdir(parents=True, exist_ok=True)
    for old in Path("/etc/unbound/unbound.conf.d").iterdir():
        old.unlink()
    os.environ["PATH"] = f"{HERE / 'stubs'}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["GUIDE_BINARY"] = str(binary)
    os.environ["GUIDE_WORK"] = str(WORK)
    # Only the stub of systemctl gives these to the daemon.
    for name in ("NOTIFY_SOCKET", "STATE_DIRECTORY"):
        os.environ.pop(name, None)
    ip("link set lo up")
    ip("link add lan type bridge")
    ip("link set lan up")
    ip(f"addr add {US}/32 dev lan")
    ip("route add default dev lan")
    for host, addresses in HOSTS.items():
        ip(f"netns add {host}")
        ip(f"link add to-{host} type veth peer name eth0 netns {host}")
        ip(f"link set to-{host} master lan up")
        ip(f"-n {host} link set lo up")
        ip(f"-n {host} link set eth0 up")
        for address in addresses:
            ip(f"-n {host} addr add {address}/32 dev eth0")
        ip(f"-n {host} route add default dev eth0 src {addresses[0]}")


def at(host, *command):
    """The command that runs `command` at that host."""
    return ["ip", "netns", "exec", host, *map(str, command)]


def run(command, cwd=CHECKOUT):
    """Runs a command or a script of the shell; gives its exit code and both outputs together."""
    if isinstance(command, str):
        command = ["bash", "-euo", "pipefail", "-c", command]
    try:
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "never ends", ""
    return done.returncode, done.stdout


def look_up(host, name, server, source=None):
    """The addresses and the CNAME targets that dig gets at that host."""
    bound = ["-b", source] if source else []
    options = ["+short", "+tries=2", "+time=2"]
    code, said = run(at(host, "dig", *options, *bound, f"@{server}", name, "A"))
    return said.split() if code == 0 else [f"dig exits {code}: {said.strip()}"]


def answers(host, server):
    return lambda: bool(look_up(host, "www.example.com", server))


def unbound(processes, host, addresses, options, config=None):
    """Starts an Unbound at that host. `options` begin inside the server: clause."""
    folder = WORK / f"unbound-{host}"
    folder.mkdir(exist_ok=True)
    interfaces = "\n  ".join(f"interface: {address}" for address in addresses)
    config = config or folder / "unbound.conf"
    config.write_text(UNBOUND.format(interfaces=interfaces, folder=folder, options=options))
    command = at(host, "/usr/sbin/unbound", "-d", "-c", config)
    processes.start(f"unbound-{host}", command, answers(host, addresses[0]))


def open_ports(processes, host, port=443):
    """Has something accept connections at every address of that host, as an endpoint does."""
    accept = (
        "import socket, sys\n"
        "s = socket.create_server(('0.0.0.0', int(sys.argv[1])))\n"
        "while True: s.accept()[0].close()\n"
    )
    processes.start(f"port-{host}", at(host, sys.executable, "-c", accept, port), lambda: True)


def silence(host):
    """The host hears and says nothing to us any more, as behind a tunnel that is down."""
    ip(f"-n {host} route add blackhole {US}/32")


def end_silence(host):
    ip(f"-n {host} route del blackhole {US}/32")
