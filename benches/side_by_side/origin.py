"""Where figures come from: machine, programs, commit, date. Ratios hold for one machine alone."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def of(root, measured):
    """What is kept beside the figures of one work; `measured` are the servers."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(root),
        "machine": machine(),
        "versions": {one.name: version(one.version) for one in measured if one.version},
    }


def machine():
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        # What a server that asks for a larger socket buffer gets, octets.
        "rmem_max": int(Path("/proc/sys/net/core/rmem_max").read_text()),
    }


def commit(root):
    """The commit that was measured, with + for changes on top of it."""
    command = ["git", "-c", f"safe.directory={root}", "-C", root, "describe", "--always"]
    done = subprocess.run(
        [*command, "--abbrev=12", "--exclude=*", "--dirty=+"], capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def version(command):
    """The first number with a dot that the program prints of itself."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=10
    )
    found = re.search(r"\d+(\.\d+)+[\w.-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"
