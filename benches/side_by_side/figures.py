"""What figures mean: medians with their spread, paired ratios, and the budgets they are held to."""

from dataclasses import dataclass
from statistics import median

from servers import OURS, TWO_WORKERS

BEST_PEER = "the best peer"
ECHOES = ("echo", "plain echo")


@dataclass(frozen=True)
class Budget:
    """A limit on one figure of ours, alone or as a ratio to somebody's."""

    work: str
    key: str
    limit: float
    against: str | None = None  # a server; None: the figure itself
    at_least: bool = False
    of: str = OURS
    unit: str = ""

    def __str__(self):
        sign = "≥" if self.at_least else "≤"
        against = f" × {self.against}" if self.against else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.work}: {NAMES[self.key]} {sign} {self.limit:g}{unit}{against}"


NAMES = {
    "cpu_us": "CPU",
    "rate": "answers/s",
    "lost_share": "private queries lost",
    "idle_mib": "resident, idle",
    "growth_over_size": "growth ÷ cache.size",
    "entry_octets": "octets an entry",
}

# From DESIGN.md and the speed issue; absolute figures move with the machine, ratios hold.
BUDGETS = [
    Budget("private", "cpu_us", 1.10, "echo"),
    Budget("private", "cpu_us", 0.90, "NSD"),
    Budget("cached", "cpu_us", 1.15, "echo"),
    Budget("cached", "cpu_us", 0.80, "Unbound"),
    Budget("cached", "cpu_us", 0.80, "dnsdist"),
    Budget("miss", "cpu_us", 1.00, "dnsdist"),
    Budget("miss", "cpu_us", 0.40, "Unbound"),
    Budget("private-small", "cpu_us", 1.00, "NSD"),
    Budget("tcp-private", "cpu_us", 1.00, BEST_PEER),
    Budget("tcp-cached", "cpu_us", 1.00, BEST_PEER),
    Budget("overload-private", "rate", 0.90, "echo", at_least=True),
    Budget("overload-private", "rate", 1.20, "NSD", at_least=True),
    Budget("overload-cached", "rate", 1.20, "Unbound", at_least=True),
    Budget("overload-mix-silent", "lost_share", 0.0),
    Budget("overload-mix-answering", "lost_share", 0.0),
    Budget("scale-private", "cpu_us", 1.10, OURS, of=TWO_WORKERS),
    Budget("scale-cached", "cpu_us", 1.10, OURS, of=TWO_WORKERS),
    Budget("memory", "idle_mib", 10, unit="MiB"),
    Budget("memory", "growth_over_size", 1.25),
    Budget("memory", "entry_octets", 1.00, "Unbound"),
]


def spread(rounds, key):
    """Median, least and most of one figure over the rounds; None where no round has it."""
    values = [figure[key] for figure in rounds if key in figure]
    return (median(values), min(values), max(values)) if values else None


def paired(ours, theirs, key):
    """The median ratio of one figure, round by round: the machine drifts between rounds."""
    return median(one[key] / other[key] for one, other in zip(ours, theirs, strict=True))


def budgets(works):
    """(budget, figure, share by which it is missed) for each that can be said something of."""
    found = []
    for budget in BUDGETS:
        rounds = works.get(budget.work, {}).get("rounds", {})
        figure = against(budget, rounds)
        if figure is None:
            continue
        over = budget.limit - figure if budget.at_least else figure - budget.limit
        # Of a limit of zero there is no share: what is there is the miss.
        found.append((budget, figure, max(0.0, over) / (budget.limit or 1)))
    return found


def against(budget, rounds):
    ours = rounds.get(budget.of)
    if not ours:
        return None
    if budget.against is None:
        return spread(ours, budget.key)[0]
    rival = budget.against
    if rival == BEST_PEER:
        rival = best_peer(rounds, budget.key)
    return paired(ours, rounds[rival], budget.key) if rounds.get(rival) else None


def best_peer(rounds, key):
    peers = [name for name in rounds if not name.startswith(OURS) and name not in ECHOES]
    return min(peers, key=lambda name: spread(rounds[name], key)[0], default=None)
