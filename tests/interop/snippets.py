"""What `privatelinkd snippet` prints, and what it tells to run: loading and verification.

The resolvers read the text as it is, from the files that it names; they listen where its commands
ask. Knows no resolver.
"""

import json
import os
import re
import subprocess
from pathlib import Path

# Where Debian has python3-yaml for; another Python on this machine may lack it.
SYSTEM_PYTHON = "/usr/bin/python3"
# Programs that this run has no use for: it starts resolvers itself, and has no cluster.
NOT_HERE = ("systemctl", "kubectl")
SECONDS = 20


class Maker:
    """Makes snippets from one daemon's configuration."""

    def __init__(self, binary, config):
        self.binary, self.config = binary, config

    def __call__(self, target, *servers):
        command = [self.binary, "snippet", target, "--config", self.config]
        for server in servers:
            command += ["--server", server]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode or done.stderr:
            raise OSError(f"snippet {target}: {done.stderr or done.returncode}")
        return done.stdout


def save(text, file):
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)


def quoted(text, begin, end):
    """Lines that comments tell to write elsewhere: from one that is `begin` to one that is `end`."""
    lines = [re.sub(r"^(//|#)   ?", "", line) for line in text.splitlines()]
    first = lines.index(begin)
    return "\n".join(lines[first : lines.index(end, first) + 1]) + "\n"


def commands(text):
    """Each command with the lines that are expected of it."""
    found = []
    for line in text.splitlines():
        said = re.match(r"^(?://|#)   (.*)$", line)
        if said and said[1].startswith("$ "):
            found.append((said[1][2:], []))
        elif said and found:
            found[-1][1].append(said[1])
        elif found:
            # The comment's own words end what is expected of the command before them.
            found.append((None, []))
    return [(command, expected) for command, expected in found if command]


def follow(tally, who, text):
    """Runs every command of a snippet, in its order."""
    asked = 0
    for command, expected in commands(text):
        if any(part.split()[0] in NOT_HERE for part in command.split("&&")):
            continue
        got = run(command)
        if not expected:
            tally.check(who, f"runs: {command}", got == (0, []), "silence", got)
            continue
        asked += 1
        wanted = sorted(line for line in expected if not line.startswith("("))
        tally.check(who, f"verifies: {command}", got == (0, wanted), wanted, got)
    tally.check(who, "snippet brings its verification", asked >= 5, "5 questions", asked)


def run(command):
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, env=env,
        )
    except subprocess.TimeoutExpired:
        return ("never ends", [])
    # Names count without their case, which use-caps-for-id mixes.
    return (done.returncode, sorted(done.stdout.lower().splitlines()))


def config_map(tally, make):
    """The ConfigMap, as YAML reads it; what is in it is the Corefile of the other snippet."""
    text, corefile = make("coredns-custom", "10.0.0.4"), make("coredns", "10.0.0.4")
    read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", read], input=text, capture_output=True, text=True, timeout=SECONDS
    )
    blocks = [line for line in corefile.splitlines() if line and not line.startswith("#")]
    expected = [{
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "coredns-custom", "namespace": "kube-system"},
        "data": {"privatelinkd.server": "\n".join(blocks) + "\n"},
    }]
    try:
        got = json.loads(done.stdout)
    except ValueError:
        got = done.stderr
    tally.check("coredns-custom", "is the ConfigMap that AKS reads", got == expected, expected, got)
