"""Reads docs/GUIDE.md: its chapters, their steps, and the blocks that a reader pastes.

Knows nothing of the machine. A fenced block's first word is its language, a second one the file
that the guide tells the reader to save it as.
"""

import re
import textwrap
from dataclasses import dataclass, field

FENCE = re.compile(r"^(\s*)```(\S+)?(?: (\S+))?\s*$")
STEP = re.compile(r"^(\d+)\. \*\*(.+?)\*\*")
# Stands for anything in a line of output.
ANYTHING = "…"


@dataclass
class Block:
    language: str
    text: str
    line: int
    step: str
    file: str | None = None


@dataclass
class Chapter:
    title: str
    blocks: list = field(default_factory=list)
    # The whole text, for what stands outside of blocks.
    text: str = ""


class Unreadable(Exception):
    """The guide is not written as this reader expects it."""


def chapters(path):
    """The chapters by title; what stands before the first one has the title ""."""
    found = [Chapter("")]
    step, block, before = "", None, ""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fence = FENCE.match(line)
        if block is not None:
            if fence and not fence[2]:
                block.text = textwrap.dedent(block.text)
                found[-1].blocks.append(block)
                block = None
            else:
                block.text += line + "\n"
            continue
        if fence:
            if not fence[2]:
                raise Unreadable(f"line {number}: a block without a language")
            block = Block(fence[2], "", number, step, fence[3])
            continue
        if line.startswith("## "):
            found.append(Chapter(line[3:].strip()))
            step = ""
        if at := STEP.match(line):
            step = f"{at[1]}. {at[2]}"
        # Code by its indentation alone is none that this reader would run.
        if not before.strip() and re.match(r"^(    |\t)\s*\S", line):
            raise Unreadable(f"line {number}: code without a fence")
        before = line
        found[-1].text += line + "\n"
    if block is not None:
        raise Unreadable(f"line {block.line}: a block without an end")
    return {chapter.title: chapter for chapter in found}


def lacks(expected, output):
    """Returns the first line of `expected` that `output` lacks, in this order; None: it has all."""
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    for wanted in filter(None, map(str.split, expected.splitlines())):
        parts = " ".join(wanted).split(ANYTHING)
        pattern = re.compile(".*".join(map(re.escape, parts)))
        if not any(pattern.fullmatch(line) for line in lines):
            return " ".join(wanted)
    return None


def names_of_checks(chapter):
    """The third column of the chapter's tables: what `doctor` calls each finding."""
    names = set()
    for row in chapter.text.splitlines():
        cells = row.split("|")
        if len(cells) == 6:
            names |= set(re.findall(r"`([a-z0-9-]+)`", cells[3]))
    return names
