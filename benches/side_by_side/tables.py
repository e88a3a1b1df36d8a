"""Figures as Markdown: a table for each work, the budgets, the programs' versions."""

import figures
import works

# What a table shows, by the figure that says which kind of work it is: (heading, key, digits).
MEMORY = [("MiB idle", "idle_mib", 1), ("octets an entry", "entry_octets", 0),
          ("MiB after 1,000,000 names", "full_mib", 1), ("growth ÷ size", "growth_over_size", 2)]
TIMES = [("p50 µs", "p50_us", 0), ("p99 µs", "p99_us", 0), ("p99.9 µs", "p999_us", 0)]
CPU = ("CPU µs a query", "cpu_us", 2)
RATE = ("answers/s", "rate", 0)
AFTER = ("MiB after", "resident_mib", 1)
BESIDE = [("private lost, share", "lost_share", 3), *TIMES,
          ("misses answered", "flood_answered", 0), AFTER]


def columns(name):
    """The columns of a work's table; the first one is drawn and orders the rows."""
    if name == "memory":
        return [MEMORY[1], MEMORY[0], *MEMORY[2:]]
    if name.startswith("overload-mix"):
        return BESIDE
    if name.startswith("overload"):
        return [RATE, CPU, ("answered", "answered", 0), AFTER]
    if name.startswith("latency"):
        return [TIMES[1], TIMES[0], TIMES[2], CPU, ("lost", "lost", 0)]
    return [CPU, RATE, ("lost", "lost", 0), AFTER]


def more_is_better(name):
    return columns(name)[0][1] == "rate"


def ranked(name, rounds):
    """Server and its rounds, the best first."""
    key = columns(name)[0][1]
    measured = [(server, own) for server, own in rounds.items() if figures.spread(own, key)]
    # Servers that answered nothing stand last.
    silent = [(server, own) for server, own in rounds.items() if not figures.spread(own, key)]
    return sorted(
        measured, key=lambda pair: figures.spread(pair[1], key)[0], reverse=more_is_better(name)
    ) + silent


def markdown(results):
    """The whole run."""
    measured = results["works"]
    parts = [budget_table(measured)]
    parts += [work_table(name, work) for name, work in measured.items()]
    parts.append(origins(measured))
    return "\n\n".join(parts)


def budget_table(measured):
    lines = ["### Budgets", "", "| budget | figure | |", "|---|---:|---|"]
    for budget, figure, missed in figures.budgets(measured):
        word = "met" if not missed else f"missed by {missed:.0%}".replace("%", " %")
        lines.append(f"| {budget} | {figure:.2f} | {word} |")
    return "\n".join(lines)


def work_table(name, work):
    shown = columns(name)
    says = works.ALL[name].says if name in works.ALL else ""
    lines = [
        f"### {name}", "", f"{says[:1].upper()}{says[1:]}.", "",
        f"| server | {shown[0][0]} | least–most | {' | '.join(one[0] for one in shown[1:])} |",
        "|---|---:|---|" + "---:|" * (len(shown) - 1),
    ]
    for server, own in ranked(name, work["rounds"]):
        note = work["notes"].get(server)
        cells = [f"{server}{f' ({note})' if note else ''}"]
        for place, (_, key, digits) in enumerate(shown):
            found = figures.spread(own, key)
            cells.append(f"{found[0]:,.{digits}f}" if found else "–")
            if place == 0:
                cells.append(f"{found[1]:,.{digits}f}–{found[2]:,.{digits}f}" if found else "–")
        lines.append(f"| {' | '.join(cells)} |")
    for server, why in work["skipped"].items():
        lines.append(f"\nSkipped: {server}: {why}")
    return "\n".join(lines)


def origins(measured):
    """Machine, date and commit of each work, and the versions of all programs."""
    lines = ["### Where the figures come from", ""]
    seen = {}
    for name, work in measured.items():
        at = work["machine"]
        key = (f"{at['processor']}, {at['cores']} cores, Linux {at['kernel']}, "
               f"net.core.rmem_max {at['rmem_max']:,}; commit {work['commit']}, {work['date']}, "
               f"turns of {work['seconds']:g} s")
        seen.setdefault(key, []).append(name)
    lines += [f"- {key}: {', '.join(names)}" for key, names in seen.items()]
    versions = {}
    for work in measured.values():
        for server, version in work["versions"].items():
            versions.setdefault(f"{server} {version}", None)
    lines += ["", f"Versions: {', '.join(sorted(versions, key=str.lower))}."]
    return "\n".join(lines)
