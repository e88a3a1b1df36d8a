"""Tables of trials as Markdown, and what is kept of them in docs/."""

import json

import page
import rivals
import verdicts
from faults import ALL, GROUPS

HEADINGS = [
    "server", "sent", "failed: new", "failed: seen", "wrong", "p50 ms", "p99 ms", "max ms",
    "after 5 s: failed", "p99 ms", "max ms", "back s", "settled s", "EDE",
]


def markdown(results):
    """Bars, then a table for each group, then the private names, then where all that comes from."""
    trials = results["trials"]
    parts = [bar_table(trials)]
    for title, group in GROUPS.items():
        own = {fault.name: trials[fault.name] for fault in group if fault.name in trials}
        if own:
            parts.append(group_table(title, own))
    parts.append(private_table(trials))
    parts.append(origins(results))
    return "\n\n".join(part for part in parts if part)


def servers_of(trials):
    """In the run's order, ours first."""
    found = {}
    for of_servers in trials.values():
        found |= dict.fromkeys(of_servers)
    return sorted(found, key=lambda name: (name != rivals.OURS, name))


def bar_table(trials):
    servers = servers_of(trials)
    lines = ["### Bars", "", tally(trials, servers), "", f"| fault | bar | {' | '.join(servers)} |",
             "|---|---|" + "---|" * len(servers)]
    for name, of_servers in trials.items():
        judged = {
            server: {one.bar: one for one in judged_of(name, of_servers, server)}
            for server, found in of_servers.items() if "skipped" not in found
        }
        bars = list(dict.fromkeys(bar for one in judged.values() for bar in one))
        for bar in bars:
            if is_common(bar) and all(one[bar].met for one in judged.values() if bar in one):
                continue
            cells = [cell_of(judged.get(server, {}).get(bar)) for server in servers]
            lines.append(f"| {name} | {bar} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tally(trials, servers):
    """How many bars each server meets, of those that it could be held to."""
    parts = []
    for server in servers:
        own = {name: of_all[server] for name, of_all in trials.items() if server in of_all}
        judged = [
            one.met for name, found in own.items() if "skipped" not in found
            for one in judged_of(name, trials[name], server)
        ]
        skipped = sum("skipped" in found for found in own.values())
        without = f" ({skipped} faults not measured)" if skipped else ""
        parts.append(f"{server} meets {sum(judged)} of {len(judged)}{without}")
    return f"{'; '.join(parts)}. Bars that hold everywhere have a row only where one is missed."


def judged_of(name, of_servers, server):
    """The bars of one server at one fault, held against the others' figures too."""
    others = verdicts.others_of(of_servers, server)
    return verdicts.judged(ALL[name], of_servers[server], others=others)


def is_common(bar):
    """Bars of every trial: shown only where somebody misses one."""
    return bar in verdicts.EVERYWHERE


def cell_of(judged):
    if judged is None:
        return "–"
    return f"{'met' if judged.met else '**missed**'}: {judged.figure}"


def group_table(title, trials):
    skipped = []
    says = "\n".join(f"- `{name}`: {ALL[name].says}." for name in trials)
    lines = [f"### {title}", "", says, "", f"| fault | {' | '.join(HEADINGS)} |",
             "|---|---|" + "---:|" * (len(HEADINGS) - 1)]
    for name, of_servers in trials.items():
        for server in servers_of(trials):
            found = of_servers.get(server)
            if found is None:
                continue
            if "skipped" in found:
                skipped.append(f"\n{name}, {server}: not measured: {found['skipped']}")
                continue
            lines.append(f"| {name} | {' | '.join([server, *cells(found)])} |")
    return "\n".join(lines + skipped)


def cells(found):
    of_all, later = found["all"], found["later"]
    return [
        f"{of_all['sent']:,}",
        count(found["new"], "failed"), count(found["seen"], "failed"),
        f"{of_all['wrong']}" if not of_all["wrong"] else f"**{of_all['wrong']}**",
        *(number(of_all[key]) for key in ("p50_ms", "p99_ms", "max_ms")),
        count(later, "failed"), number(later["p99_ms"]), number(later["max_ms"]),
        number(found.get("back_s"), 1, "never" if "back_s" in found else "–"),
        number(found.get("settled_s"), 1),
        ", ".join(f"{code}: {times}" for code, times in of_all.get("extended_errors", {}).items())
        or "–",
    ]


def count(part, key):
    return f"{part[key]:,}" if part["sent"] else "–"


def number(value, digits=0, none="–"):
    return none if value is None else f"{value:,.{digits}f}"


def private_table(trials):
    lines = ["### Private names of privatelinkd, under the same faults", "",
             "| fault | sent | lost | p50 ms | p99 ms | max ms | echo: p99 ms | bar |",
             "|---|---:|---:|---:|---:|---:|---:|---|"]
    for name, of_servers in trials.items():
        found = of_servers.get(rivals.OURS, {})
        if "private" not in found:
            continue
        private = found["private"]
        times = [number(private[key], 2) for key in ("p50_ms", "p99_ms", "max_ms")]
        times.append(number(found["echo"]["p99_ms"], 2))
        lost = private["failed"] + private["wrong"]
        word = "met" if verdicts.private_names(found).met else "**missed**"
        lines.append(f"| {name} | {private['sent']:,} | {lost} | {' | '.join(times)} | {word} |")
    return "\n".join(lines) if len(lines) > 4 else ""


def origins(results):
    lines, seen, versions = ["### Where the figures come from", ""], {}, {}
    for name, origin in results["origins"].items():
        at = origin["machine"]
        key = (f"{at['processor']}, {at['cores']} cores, Linux {at['kernel']}; "
               f"commit {origin['commit']}, {origin['date']}")
        seen.setdefault(key, []).append(name)
        versions |= dict.fromkeys(f"{one} {v}" for one, v in origin["versions"].items())
    lines += [f"- {key}: {', '.join(names)}" for key, names in seen.items()]
    lines += ["", f"Versions: {', '.join(sorted(versions, key=str.lower))}."]
    return "\n".join(lines)


def fault_list():
    """What each fault is."""
    lines = []
    for title, group in GROUPS.items():
        lines += [f"{title}:", *(f"  {fault.name}: {fault.says}" for fault in group)]
    return "\n".join(lines)


def stored(root):
    file = file_of(root)
    return json.loads(file.read_text()) if file.exists() else {"trials": {}, "origins": {}}


def merged(old, new):
    """The new trials beside those that are kept, in the catalogue's order."""
    trials, origins_of = old["trials"], old["origins"]
    for name, of_servers in new["trials"].items():
        trials[name] = trials.get(name, {}) | of_servers
        before = origins_of.get(name, {}).get("versions", {})
        origin = new["origins"][name]
        origins_of[name] = origin | {"versions": before | origin["versions"]}
    names = [name for name in ALL if name in trials]
    return {
        "trials": {name: trials[name] for name in names},
        "origins": {name: origins_of[name] for name in names},
    }


def record(root, results):
    file = file_of(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    page.put(root / "docs/RESILIENCE.md", markdown(results))


def file_of(root):
    return root / "docs/resilience/results.json"
