"""The frame of the book: what a page is, how pages are put in order, and the search that every page has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minivae.pages.markup import Markup, data_script, join, page, tag

STYLES = ("page.css", "book.css")


@dataclass(frozen=True)
class Page:
    """One page: its file's name without ".html", the chapter it belongs to, and what is on it."""

    name: str
    chapter: str
    title: str
    body: Markup
    label: str = ""  # a tag such as "K.1", or nothing
    words: str = ""  # further words by which the search finds it
    scripts: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.name}.html"


def bind(title: str, preface: Markup, pages: Sequence[Page]) -> dict[str, str]:
    """Return file name → HTML of the contents and of every page."""
    index = data_script("pages", [[p.label, p.title, p.file, p.chapter, p.words] for p in pages])
    bound = {"index.html": _whole(title, tag("main", tag("h1", title), preface, _contents(pages), id="content"), index, ())}
    for i, this in enumerate(pages):
        before, after = pages[i - 1] if i else None, pages[i + 1] if i + 1 < len(pages) else None
        steps = (_step(before, "prev", "← "), _step(after, "next", "", " →"))
        turn = tag("nav", steps, class_="turn", aria_label="previous and next page")
        head = tag("p", this.chapter, class_="eyebrow")
        name = tag("h1", tag("span", this.label, class_="tag") if this.label else None, " " * bool(this.label), this.title)
        body = tag("main", head, name, this.body, turn, id="content")
        bound[this.file] = _whole(f"{this.label} {this.title}".strip(), body, index, this.scripts)
    return bound


def _whole(title: str, body: Markup, index: Markup, scripts: tuple[str, ...]) -> str:
    skip = tag("a", "to the text", href="#content", class_="skip")
    field = tag("input", id="search", type="search", placeholder="K.1, posterior collapse, softplus …", autocomplete="off")
    search = tag("div", tag("label", "Search", for_="search"), field, tag("ul", id="found", aria_live="polite"), class_="search")
    head = tag("header", tag("a", "The annotated VAE", href="index.html", class_="home"), search, class_="top")
    return page(title, join([skip, head, body, index]), STYLES, ("search.js", *scripts))


def _step(other: Page | None, rel: str, before: str = "", after: str = "") -> Markup:
    if other is None:
        return tag("span")
    return tag("a", f"{before}{other.label} {other.title}{after}".strip(), href=other.file, rel=rel)


def _contents(pages: Sequence[Page]) -> list[Markup]:
    chapters: dict[str, list[Page]] = {}
    for this in pages:
        chapters.setdefault(this.chapter, []).append(this)
    return [
        tag("section", tag("h2", chapter), tag("ul", (_entry(this) for this in members), class_="contents"))
        for chapter, members in chapters.items()
    ]


def _entry(this: Page) -> Markup:
    label = tag("span", this.label, class_="tag") if this.label else None
    return tag("li", tag("a", label, " " * bool(label), this.title, href=this.file))
