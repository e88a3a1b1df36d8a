"""Turns replies into counts, lines of differences, and the page."""

from collections import Counter
from dataclasses import dataclass, field

import compliance
import exchange
import page
import contenders

# Kinds of difference, in the order in which the page has them.
KINDS = ["no reply", "unreadable", "rcode", "answer", "SOA", "flags"]
# The name under which an upstream's own replies stand beside those of the servers that ask it.
ITSELF = "the upstream itself"


@dataclass
class Difference:
    """One question for which a server and the reference differ."""

    server: str
    kind: str
    question: object
    right: object
    got: object


@dataclass
class Results:
    origin: dict
    questions: int
    compliance: dict = field(default_factory=dict)
    # Upstream -> its differences.
    differences: dict = field(default_factory=dict)
    servers: list = field(default_factory=list)

    def compare(self, upstream, questions, reference, replies):
        """Keeps how `replies`, a list for each server, differ from those of the reference."""
        self.servers = list(replies)
        self.differences[upstream] = [
            Difference(server, kind, question, right, got)
            for server, all_of_it in replies.items()
            for question, right, got in zip(questions, reference, all_of_it)
            if (kind := difference(right, got))
        ]


def replies(place, questions):
    return [exchange.ask(*place, question) for question in questions]


def difference(right, got):
    """The first kind in which two replies differ; None where they agree."""
    if isinstance(right, str) or isinstance(got, str):
        return None if right == got else "no reply" if got == "no reply" else "unreadable"
    right, got = right.parts(), got.parts()
    return next((kind for kind in KINDS if kind in right and right[kind] != got[kind]), None)


def faults(results):
    """The faults of privatelinkd, one line each."""
    found = [
        f"{subject}: {name}: {', '.join(wrong)}"
        for subject, result in results.compliance.items() if subject.startswith(contenders.OURS)
        for name, wrong in result.failed().items()
    ]
    found += [
        f"over {upstream}: {line(one)}"
        for upstream, differences in results.differences.items()
        for one in differences if one.server == contenders.OURS
    ]
    return found


def line(one):
    return f"{one.server}: {one.kind}: {one.question}: right: {one.right}; got: {one.got}"


def lines(results):
    return "".join(
        f"over {upstream}: {line(one)}\n"
        for upstream, differences in results.differences.items() for one in differences
    )


def markdown(results):
    return "\n".join([*compliance_table(results), "", *difference_tables(results), "",
                      *where_from(results)])


def compliance_table(results):
    total = len(compliance.LIST)
    yield f"### Compliance: {total} checks"
    yield ""
    yield "| server and zone | passed | failed |"
    yield "|---|---:|---|"
    for subject, result in results.compliance.items():
        failed = "; ".join(f"{name}: {', '.join(w)}" for name, w in result.failed().items())
        yield f"| {subject} | {result.passed()} | {failed or 'none'} |"


def difference_tables(results):
    yield f"### Differences from the reference: {results.questions:,} questions over each upstream"
    for upstream, differences in results.differences.items():
        yield ""
        yield f"| over {upstream} | {' | '.join(KINDS)} | all |"
        yield f"|---|{'---:|' * (len(KINDS) + 1)}"
        for server in results.servers:
            counts = Counter(one.kind for one in differences if one.server == server)
            row = [f"{counts[kind]:,}" for kind in KINDS] + [f"{counts.total():,}"]
            yield f"| {server} | {' | '.join(row)} |"


def where_from(results):
    origin = results.origin
    at = origin["machine"]
    yield (f"Commit {origin['commit']}, {origin['date']}, Linux {at['kernel']}. Versions: "
           + ", ".join(f"{name} {version}" for name, version in origin["versions"].items()) + ".")


def record(root, results):
    page.put(root / "docs/CONFORMANCE.md", markdown(results))
