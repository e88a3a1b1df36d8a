"""What figures mean: medians with their spread, paired ratios, and the table that people read."""

from statistics import median

import load

# (work, of, against, most): the median over the rounds of of/against must not be above `most`.
# From the budgets of the speed issue; absolute figures move with the machine, ratios hold.
BUDGETS = [
    ("private", "echo", 1.10),
    ("private", "NSD", 0.90),
    ("cached", "echo", 1.15),
    ("cached", "Unbound", 0.80),
    ("cached", "dnsdist", 0.80),
    ("miss", "dnsdist", 1.00),
    ("miss", "Unbound", 0.40),
    ("private-small", "NSD", 1.00),
]
OURS = "privatelinkd"


def spread(rounds, key):
    """Median, least and most of one figure over the rounds."""
    values = [figure[key] for figure in rounds]
    return median(values), min(values), max(values)


def paired(ours, theirs):
    """The median ratio of CPU for each answer, round by round: the machine drifts between rounds."""
    return median(
        one["cpu_us"] / other["cpu_us"] for one, other in zip(ours, theirs, strict=True)
    )


def budgets(works):
    """(work, against, most, ratio) for each budget that this run can say something of."""
    found = []
    for work, against, most in BUDGETS:
        rounds = works.get(work, {})
        theirs = rounds.get(against)
        if OURS in rounds and theirs:
            found.append((work, against, most, paired(rounds[OURS], theirs)))
    return found


def tables(results):
    """The whole run as Markdown."""
    parts = []
    for work, rounds in results["works"].items():
        lines = [
            f"### {work}", "",
            "| server | CPU µs a query | (least–most) | answers/s | lost | MiB idle | MiB after |",
            "|---|---:|---|---:|---:|---:|---:|",
        ]
        for name, own in sorted(rounds.items(), key=lambda pair: spread(pair[1], "cpu_us")[0]):
            middle, least, most = spread(own, "cpu_us")
            note = results["notes"].get(load.SHAPES[work][0], {}).get(name)
            lines.append(
                f"| {name}{' (' + note + ')' if note else ''} | {middle:.2f} | {least:.2f}–{most:.2f} "
                f"| {spread(own, 'rate')[0]:,.0f} | {sum(figure['lost'] for figure in own)} "
                f"| {results['idle_mib'][name]:.1f} | {own[-1]['resident_mib']:.1f} |"
            )
        parts.append("\n".join(lines))
    lines = ["### budgets", "", "| budget | figure | |", "|---|---:|---|"]
    for work, against, most, ratio in budgets(results["works"]):
        word = "met" if ratio <= most else f"missed by {(ratio / most - 1) * 100:.0f} %"
        lines.append(f"| {work} ≤ {most:.2f} × {against} | {ratio:.2f} | {word} |")
    parts.append("\n".join(lines))
    for skipped in results["skipped"]:
        parts.append(f"Skipped: {skipped}")
    return "\n\n".join(parts)
