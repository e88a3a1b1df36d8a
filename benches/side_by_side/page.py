"""What is kept of the figures: docs/performance/ and the tables within docs/PERFORMANCE.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import figures
import install
import tables
import works

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def folder_of(root):
    return root / "docs/performance"


def stored(root):
    """The results kept in the repository; none yet: an empty run."""
    file = folder_of(root) / "results.json"
    return json.loads(file.read_text()) if file.exists() else {"works": {}}


def merged(old, new):
    """Both runs' works, the new one's where both have one, in the order of the works' table."""
    both = old["works"] | new["works"]
    order = [*works.ALL, *both]
    return {"works": {name: both[name] for name in sorted(both, key=order.index)}}


def record(root, results):
    """Writes results, plots and tables."""
    folder = folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    plot = Path(__file__).resolve().parent / "plots.py"
    subprocess.run([install.plotting(), plot, file, folder], check=True)
    put(root / "docs/PERFORMANCE.md", with_plots(results))


def put(page, figures_of_it):
    """Writes what stands between the page's markers anew."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{page} has no {BEGIN} … {END}")
    body = f"{BEGIN}\n{figures_of_it}\n{END}"
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.S)
    page.write_text(between.sub(lambda _: body, text))


def with_plots(results):
    """The tables, each work's plot above its own."""
    text = tables.markdown(results)
    for name, work in results["works"].items():
        drawn = tables.columns(name)[0][1]
        if not any(figures.spread(own, drawn) for own in work["rounds"].values()):
            continue
        plot = f"### {name}\n\n![{works.ALL[name].says}](performance/{name}.svg)\n"
        text = text.replace(f"### {name}\n", plot, 1)
    return text
