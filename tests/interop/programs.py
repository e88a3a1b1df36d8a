"""Programs that look names up by themselves: glibc, musl, Go. They ask port 53, as resolv.conf says."""

import os
import subprocess
import time
from pathlib import Path

from names import DATABASE, DEFENDER, VAULT, random_labels
from resolvers import API, DATA, MINE_V4, MINE_V6
from upstream import MANY

HERE = Path(__file__).parent / "clients"
# glibc and musl wait 2 s here for a lost answer: a look-up that takes as long has lost one.
PROMPT_SECONDS = 1.5

FOUND = {
    f"api.{DEFENDER.public}": {API},
    f"data.westeurope.{DEFENDER.public}": {DATA},
    f"api.{DEFENDER.private}": {API},
    f"mine.{DATABASE.public}": {MINE_V4, MINE_V6},
    "www.example.test": {"198.51.100.1", "2001:db8::1"},
    "chain.example.test": {API},
    "portal.example.test": {API},
}
MISSING = [f"nosuch.{VAULT.public}", f"westeurope.{DEFENDER.public}", "nosuch.example.test"]


def build(kind, folder):
    """Gives the program's path; raises CalledProcessError with the compiler's words."""
    program = folder / f"lookup-{kind}"
    if kind == "musl":
        command = ["musl-gcc", "-O1", "-static", "-o", program, HERE / "lookup.c"]
    elif kind == "glibc":
        command = ["gcc", "-O1", "-o", program, HERE / "lookup.c"]
    else:
        command = ["go", "build", "-o", program, HERE / "lookup.go"]
    go = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "off"}
    env = {**os.environ, **go, "GOCACHE": str(folder / "go-cache"), "GOPATH": str(folder / "go")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    return program if done.returncode == 0 else done.stderr.strip()


def glibc(tally):
    def getent(name):
        command = ["timeout", "10", "getent", "ahosts", name]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    who = "glibc"
    for name, expected in FOUND.items():
        start = time.monotonic()
        lines = getent(name).stdout.splitlines()
        seconds = time.monotonic() - start
        got = {line.split()[0] for line in lines}
        good = got == expected and seconds < PROMPT_SECONDS
        tally.check(who, f"getent ahosts {name}", good, expected, f"{got} in {seconds:.1f} s")
    many = getent("many.example.test").stdout.split()
    got = len({word for word in many if word.startswith("198.51.100.")})
    tally.check(who, "getent ahosts many.example.test (TCP)", got == MANY, MANY, got)
    for name in MISSING:
        code = getent(name).returncode
        tally.check(who, f"getent ahosts {name} finds nothing", code == 2, "exit 2", f"exit {code}")


def lookups(tally, who, program, seed):
    """musl and Go, with the same small program in C and in Go."""
    randoms = [f"{label}.{DEFENDER.public}" for label in random_labels(10, f"{seed} {who}")]
    # `_` is no letter of a host name: musl and Go may refuse to ask.
    expected = FOUND | {name: {API} for name in randoms if "_" not in name and "-." not in name}
    start = time.monotonic()
    command = ["timeout", "30", program, *expected, *MISSING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    seconds = time.monotonic() - start
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    for name, addresses in expected.items():
        got = set(lines.get(name, ()))
        tally.check(who, f"looks up {name}", got == addresses, addresses, got)
    for name in MISSING:
        got = lines.get(name, ["nothing"])
        # An empty list and "try again" are both wrong: the name's absence must be final.
        good = got[0] == "error" and got[1] not in ("-3", "notfound=false")
        tally.check(who, f"is told that {name} has no address", good, "a final error", got)
    limit = PROMPT_SECONDS * 2
    tally.check(who, "loses no answer", seconds < limit, f"< {limit} s", f"{seconds:.1f} s")
