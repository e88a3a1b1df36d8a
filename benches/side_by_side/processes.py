"""What the kernel says of a running server: its processor time and its resident memory."""

import os
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the program's name (proc(5) counts from 1, these from its third).
PARENT, USER, SYSTEM, ENDED_USER, ENDED_SYSTEM = 1, 11, 12, 13, 14


def tree(pid):
    """`pid` and all that descend from it: NSD answers from children of the process we started."""
    children = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := stat(folder.name):
            children.setdefault(int(fields[PARENT]), []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def stat(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rsplit(")", 1)[1].split()


def cpu_seconds(pid):
    """User and system time of all threads of the tree.

    The kernel's work for a datagram that runs in a process' context (a reply's whole way over the
    loopback, up to the client's socket) is counted to that process, as kernels without
    IRQ_TIME_ACCOUNTING do. Children that have ended count too: dnsmasq makes one for each TCP
    connection.
    """
    ticks = 0
    for member in tree(pid):
        if fields := stat(member):
            ticks += sum(int(fields[kind]) for kind in (USER, SYSTEM, ENDED_USER, ENDED_SYSTEM))
    return ticks / TICKS_A_SECOND


def resident_mib(pid):
    """Resident memory of the tree; what children share is counted once, with the first (PSS)."""
    kib = 0
    for member in tree(pid):
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return kib / 1024
