"""Code on a page: numbered and coloured, with the important lines highlighted; and the diff that shows a bug."""

from __future__ import annotations

import difflib
import re

from minivae.pages.markup import Markup, tag
from minivae.study.source import Listing

KEYWORDS = "def return if else for in not and or is lambda class None True False raise with while try import from yield assert"
KEYWORDS += " const float double int char void unsigned long struct u32 u64 KERNEL __device__ __shared__"
WORD = re.compile(
    r"""(?P<remark>\#(?!define|include).*$|//.*$)|(?P<string>f?"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    rf"|(?P<key>\b(?:{KEYWORDS.replace(' ', '|')})\b)|(?P<number>\b\d[\w.]*\b)"
)


def show(listing: Listing, caption: Markup | str = "") -> Markup:
    """Return a listing as a figure, which scrolls sideways if a line is wider than the page."""
    rows: list[Markup] = []
    last = None
    for number, text in listing.lines:
        if last is not None and number != last + 1:
            rows.append(tag("span", "⋯", class_="gap"))
        last = number
        line = tag("span", tag("span", str(number), class_="n", aria_hidden="true"), coloured(text) or " ", class_="row")
        rows.append(tag("mark", line, aria_label=f"line {number}, the line of this page") if number in listing.lit else line)
    place = tag("code", f"{listing.file}:{min(listing.lit)}" if listing.lit else listing.file)
    head = tag("figcaption", place, " ", caption)
    return tag("figure", head, tag("pre", rows, class_="code", tabindex="0"), class_="listing")


def coloured(text: str) -> list[Markup | str]:
    """Return a line of Python or CUDA with its keywords, numbers, strings and comments marked."""
    parts: list[Markup | str] = []
    place = 0
    for match in WORD.finditer(text):
        parts += [text[place : match.start()], tag("span", match[0], class_=match.lastgroup)]
        place = match.end()
    return [*parts, text[place:]]


def difference(old: str, new: str) -> Markup:
    """Return the lines that a bug removes and those that it adds, as a diff by whole lines."""
    rows = []
    margin = min((len(line) - len(line.lstrip()) for line in (old + "\n" + new).splitlines() if line.strip()), default=0)
    for line in difflib.ndiff(old.splitlines(), new.splitlines()):
        if line[0] in "+-":
            sign = {"-": "−", "+": "+"}[line[0]]
            kind, spoken = ("right", "right: ") if line[0] == "-" else ("bug", "bug: ")
            parts = (
                tag("span", spoken, class_="hidden"),
                tag("span", sign, class_="n", aria_hidden="true"),
                coloured(line[2 + margin :]),
            )
            rows.append(tag("span", parts, class_=f"row {kind}"))
    return tag("pre", rows, class_="code", tabindex="0")
