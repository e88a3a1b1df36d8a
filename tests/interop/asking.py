"""Asks one question with dig or kdig and reads what they print."""

import re
import subprocess
from dataclasses import dataclass, field

# One try, and no longer than an impatient resolver waits (DOMAIN.md: answer or fail within 2 s).
SECONDS = 3
COMMON = ["+noall", "+comments", "+question", "+answer", "+authority"]


@dataclass
class Reply:
    """What came back, names in lower case and without the last dot."""

    status: str = "SILENCE"
    flags: set = field(default_factory=set)
    question: str = ""
    answer: list = field(default_factory=list)  # (owner, ttl, type, rdata)
    authority: list = field(default_factory=list)
    text: str = ""

    def addresses(self):
        return sorted(rdata for _, _, rtype, rdata in self.answer if rtype in ("A", "AAAA"))

    def chain(self):
        return [rdata for _, _, rtype, rdata in self.answer if rtype == "CNAME"]

    def soa(self):
        return [owner for owner, _, rtype, _ in self.authority if rtype == "SOA"]

    def __str__(self):
        parts = [self.status, *self.chain(), *self.addresses()]
        parts += [f"SOA {owner}" for owner in self.soa()]
        return " ".join(parts)


def ask(server, name, rtype="A", tool="dig", tcp=False, options=()):
    return ask_all(server, [name], rtype, tool, tcp, options)[0]


def ask_all(server, names, rtype="A", tool="dig", tcp=False, options=()):
    """Asks for each of `names`, one after the other in one run of the tool."""
    address, port = server
    options = [*COMMON, *(["+tcp"] if tcp else []), *options]
    if tool == "dig":
        # dig takes options behind each name for that name alone: say them before the first.
        options = ["+time=2", "+tries=1", "+nocookie", *options]
    else:
        options = ["+time=2", "+retry=0", *options, "+header"]
    command = [tool, f"@{address}", "-p", str(port), *options]
    for name in names:
        command += [name, rtype] if tool == "kdig" else ["-q", name, "-t", rtype]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS * (1 + len(names) // 10),
        )
        text = done.stdout
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode(errors="replace")
    replies = [read(part) for part in re.split(r"(?=;; ->>HEADER<<-)", text) if "HEADER" in part]
    if len(replies) != len(names):
        replies = [Reply(text=text)] * len(names) if len(names) == 1 else replies
    return replies


def read(text):
    reply = Reply(text=text)
    if found := re.search(r"status: (\w+)", text):
        reply.status = found[1]
    if found := re.search(r"flags:([a-z ]*);", text, re.IGNORECASE):
        reply.flags = set(found[1].split())
    section = None
    for line in text.splitlines():
        if found := re.match(r";; (\w+) (?:PSEUDO)?SECTION", line):
            section = found[1]
        elif section == "QUESTION" and line.startswith(";") and len(line.split()) >= 3:
            reply.question = line.lstrip("; ").split()[0].rstrip(".")
        elif line and not line.startswith(";"):
            record = record_of(line)
            if record and section in ("ANSWER", "AUTHORITY"):
                getattr(reply, section.lower()).append(record)
    return reply


def record_of(line):
    parts = line.split(None, 4)
    if len(parts) < 5 or not parts[1].isdigit():
        return None
    owner, ttl, _, rtype, rdata = parts
    rdata = rdata.strip()
    if rtype == "CNAME":
        rdata = rdata.lower().rstrip(".")
    return owner.lower().rstrip("."), int(ttl), rtype, rdata
