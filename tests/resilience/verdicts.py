"""What a trial's queries say: figures, and the bars that privatelinkd is held to."""

from collections import Counter
from dataclasses import dataclass

import rivals
from client import SILENCE
from faults import (
    AGED, ANSWERS_SEEN, BEGINS, ECHO, FEW_LOST, LOSES_NO_MORE, MARKED, NEW, NONE_LOST,
    NOTICED_SECONDS, PRIVATE, RECOVERS, SAYS_SO, SEEN, UNNOTICED, UNSEEN, WAITS_NO_LONGER,
)

# Until a cold server has its connections, the round trip is not the path's.
SETTLING_SECONDS = 0.5
MOST_OVER_HEALTHY_MS = 100
MOST_STALE_MS = 2000
MOST_PRIVATE_MS = 5
MOST_RECOVERY_SECONDS = 3
# Of other clients' new names, while one client floods the server.
MOST_LOST_SHARE = 0.01
# RFC 8914 4.4: the answer is stale.
STALE = 3
# The budget of a query (`timeout`, 2 s) and what a busy machine adds.
MOST_REFUSAL_MS = 2500


def figures(queries, fault, done, alive):
    """Everything that is shown or judged of one trial; `done` are the times of its steps."""
    public = [one for one in queries if one.kind not in (PRIVATE, ECHO)]
    private = [one for one in queries if one.kind == PRIVATE]
    begun = next((at for step, at in zip(fault.steps, done) if step.at >= BEGINS), BEGINS)
    later = [one for one in public if one.at >= begun + NOTICED_SECONDS]
    found = {
        "all": of(public),
        "new": of([one for one in public if one.kind in UNSEEN]),
        "seen": of([one for one in public if one.kind in SEEN]),
        "private": of(private),
        "echo": of([one for one in queries if one.kind == ECHO]),
        "later": of(later),
        "healthy_ms": healthy(public, begun),
        "alive": alive,
    }
    # Asked for the second time long after they expired, with nobody to ask: they are stale.
    found["stale"] = of([
        one for one in public if one.kind == AGED and one.at >= begun and one.is_right
    ])
    if fault.back is not None:
        back = next(at for step, at in zip(fault.steps, done) if step.at >= fault.back)
        found |= recovery(public, back)
    return found


def of(queries):
    """Counts and waits of some queries; who got no answer waited until the time-out."""
    waits = sorted(one.wait * 1000 for one in queries)
    wrong = sum(one.said == "wrong" for one in queries)
    right = sum(one.is_right for one in queries)
    return {
        "sent": len(queries),
        "right": right,
        "wrong": wrong,
        # Wrong ones are worse than failures and counted apart.
        "failed": len(queries) - right - wrong,
        "silent": sum(one.said == SILENCE for one in queries),
        "p50_ms": quantile(waits, 0.5),
        "p95_ms": quantile(waits, 0.95),
        "p99_ms": quantile(waits, 0.99),
        "max_ms": waits[-1] if waits else None,
        "extended_errors": Counter(str(code) for one in queries for code in one.errors),
    }


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def healthy(queries, begun):
    """The median wait for an answer that the cache does not have, before anything is broken."""
    seen, waits = set(), []
    for one in sorted(queries, key=lambda one: one.at):
        if SETTLING_SECONDS <= one.at and one.at + one.wait < begun and one.is_right:
            if one.name not in seen:
                waits.append(one.wait * 1000)
        seen.add(one.name)
    return quantile(sorted(waits), 0.5)


def recovery(queries, back):
    """From the moment when all is well again: the first right answer to a new name, and the last
    query that still failed."""
    fresh = [one.at + one.wait for one in queries if one.kind == NEW and one.is_right]
    fresh = [at for at in fresh if at >= back]
    failed = [one.at for one in queries if not one.is_right and one.at >= back]
    return {
        "back_s": min(fresh) - back if fresh else None,
        "settled_s": max(failed) - back if failed else 0.0,
    }


NO_WRONG, STAYS_UP = "no wrong answer", "stays up"
AT_ONCE = f"private names within {MOST_PRIVATE_MS} ms of a bare echo, none lost"
# Bars of every trial.
EVERYWHERE = (NO_WRONG, STAYS_UP, AT_ONCE)


@dataclass(frozen=True)
class Judged:
    """One bar at one trial."""

    bar: str
    met: bool
    figure: str


def judged(fault, found, is_quick=False, others=()):
    """Every bar of the fault; `others` are the figures of the other servers, where there are any. A
    quick run overlooks one answer in a hundred that came late, of the
    private ones five, as other work on the machine makes some so."""
    most = "p99_ms" if is_quick else "max_ms"
    of_all, later, seen = found["all"], found["later"], found["seen"]
    results = [
        Judged(NO_WRONG, of_all["wrong"] == 0, f"{of_all['wrong']}"),
        Judged(STAYS_UP, found["alive"], "yes" if found["alive"] else "ended"),
    ]
    if found["private"]["sent"]:
        results.append(private_names(found, "p95_ms" if is_quick else "p99_ms"))
    if NONE_LOST in fault.bars:
        lost = of_all["failed"]
        results.append(Judged("no query lost", lost == 0, f"{lost} of {of_all['sent']}"))
    results += beside(fault, found, others)
    if FEW_LOST in fault.bars:
        new = found["new"]
        met = new["failed"] <= new["sent"] * MOST_LOST_SHARE
        results.append(Judged(
            f"at most {MOST_LOST_SHARE:.0%} of others' new names fail", met,
            f"{new['failed']} of {new['sent']}",
        ))
    if UNNOTICED in fault.bars:
        limit = (found["healthy_ms"] or 0) + MOST_OVER_HEALTHY_MS
        results.append(Judged(
            f"after {NOTICED_SECONDS:.0f} s no wait over the healthy {MOST_OVER_HEALTHY_MS} ms and "
            "more", later[most] is not None and later[most] <= limit,
            f"{later[most]:.0f} ms beside {found['healthy_ms'] or 0:.0f}",
        ))
    if ANSWERS_SEEN in fault.bars:
        met = seen["failed"] == 0 and seen[most] <= MOST_STALE_MS
        results.append(Judged(
            f"names seen before answer within {MOST_STALE_MS / 1000:.0f} s", met,
            f"{seen['failed']} failed, {seen[most]:.0f} ms",
        ))
    if MARKED in fault.bars:
        stale = found["stale"]
        marked = stale["extended_errors"].get(str(STALE), 0)
        results.append(Judged(
            f"answers that expired say so (EDE {STALE})", 0 < marked == stale["sent"],
            f"{marked} of {stale['sent']}",
        ))
    if RECOVERS in fault.bars:
        back = found["back_s"]
        met = back is not None and back <= MOST_RECOVERY_SECONDS
        results.append(Judged(
            f"right new answers ≤ {MOST_RECOVERY_SECONDS} s after the path is back", met,
            "never" if back is None else f"{back:.1f} s",
        ))
    if SAYS_SO in fault.bars:
        met = of_all["silent"] == 0 and of_all[most] <= MOST_REFUSAL_MS
        results.append(Judged(
            f"every query has an answer or SERVFAIL within {MOST_REFUSAL_MS / 1000} s", met,
            f"{of_all['silent']} silent, {of_all[most]:.0f} ms",
        ))
    return results


def beside(fault, found, others):
    """Bars that the best of the other servers sets."""
    results = []
    if LOSES_NO_MORE in fault.bars and others:
        lost, least = found["all"]["failed"], min(one["all"]["failed"] for one in others)
        results.append(Judged(
            "no more queries fail than with the best of the others", lost <= least,
            f"{lost} beside {least}",
        ))
    if WAITS_NO_LONGER in fault.bars and others:
        wait, least = found["later"]["p99_ms"], min(one["later"]["p99_ms"] for one in others)
        # The best may be one that has given up asking.
        limit = least + (found["healthy_ms"] or 0)
        results.append(Judged(
            f"after {NOTICED_SECONDS:.0f} s 99 % wait no longer than with the best of the others, "
            "and a healthy round trip", wait <= limit, f"{wait:.0f} ms beside {least:.0f}",
        ))
    return results


def others_of(of_servers, server):
    """The figures of the other servers of one fault."""
    return [
        found for name, found in of_servers.items() if name != server and "skipped" not in found
    ]


def private_names(found, most="p99_ms"):
    """By a percentile: five milliseconds are less than the kernel's time slices. What an echo's
    answers wait on the same machine at the same time is not the server's doing."""
    private, echo = found["private"], found["echo"]
    lost = private["failed"] + private["wrong"]
    return Judged(
        AT_ONCE, lost == 0 and private[most] <= echo[most] + MOST_PRIVATE_MS,
        f"{lost} lost, {private[most]:.1f} ms beside {echo[most]:.1f}",
    )


def missed(results, faults, is_quick):
    """What privatelinkd missed: lines for a reader."""
    lines = []
    for name, of_servers in results.items():
        ours = of_servers.get(rivals.OURS)
        if ours is None:
            continue
        if "skipped" in ours:
            lines.append(f"{name}: {ours['skipped']}")
            continue
        lines += [
            f"{name}: {one.bar}: {one.figure}"
            for one in judged(
                faults[name], ours, is_quick, others_of(of_servers, rivals.OURS)
            ) if not one.met
        ]
    return lines
