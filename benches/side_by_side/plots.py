#!/usr/bin/env python3
"""One SVG for each work: a bar for each server, its median with least and most.

    plots.py RESULTS.json FOLDER

Run by the interpreter that has matplotlib. Colours are readable on light and on dark: the
background stays transparent, text and lines are of a middle grey.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import matplotlib.ticker

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/interop"))

import figures
import tables
import works
from servers import OURS

OURS_COLOUR, PEER_COLOUR, ECHO_COLOUR = "#e8730c", "#4c8bc9", "#9a9a9a"
TEXT_COLOUR = "#808890"
WIDTH_INCHES, ROW_INCHES, HEAD_INCHES = 7.2, 0.32, 1.1
# Same figures, same file: no date and no random identifiers in it.
matplotlib.rcParams.update({
    "svg.hashsalt": "privatelinkd", "svg.fonttype": "none", "font.family": "sans-serif",
    "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR, "axes.edgecolor": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR, "ytick.color": TEXT_COLOUR,
})


def draw(name, work, file):
    heading, key, digits = tables.columns(name)[0]
    ranked = tables.ranked(name, work["rounds"])
    rows = [(server, found) for server, own in ranked if (found := figures.spread(own, key))]
    if not rows:
        return
    size = (WIDTH_INCHES, HEAD_INCHES + ROW_INCHES * len(rows))
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    widest = max(most for _, (_, _, most) in rows) or 1
    for place, (server, (middle, least, most)) in enumerate(rows):
        axes.barh(
            place, middle, color=colour(server), height=0.68,
            xerr=[[middle - least], [most - middle]], ecolor=TEXT_COLOUR, capsize=3,
        )
        axes.text(most + widest * 0.015, place, f"{middle:,.{digits}f}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [server for server, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.14)
    better = "more" if tables.more_is_better(name) else "less"
    axes.set_xlabel(f"{heading}, {better} is better (median; whiskers: least and most)", fontsize=9)
    axes.set_title(works.ALL[name].says, fontsize=11, loc="left", color=TEXT_COLOUR)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,g}"))
    figure.savefig(file, transparent=True, metadata={"Date": None})
    plt.close(figure)


def colour(server):
    if server.startswith(OURS):
        return OURS_COLOUR
    return ECHO_COLOUR if server in figures.ECHOES else PEER_COLOUR


def main():
    results, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for name, work in results["works"].items():
        draw(name, work, folder / f"{name}.svg")


if __name__ == "__main__":
    main()
