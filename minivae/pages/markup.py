"""A small HTML builder, which escapes everything it has not built itself, and the frame of a page that needs no network."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

WEB = Path(__file__).parent / "web"
VOID = ("img", "meta", "input")
# A page may only run the scripts and show the pictures that it contains: it sends no request.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
POLICY += "; form-action 'none'; base-uri 'none'"  # which the default does not cover


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element.  Children are text, markup, None, or iterables of these; text is escaped.

    Attributes: a trailing underscore is dropped (``class_``), others become hyphens; None means that there is none.
    """
    head = name
    for key, value in attributes.items():
        if value is not None:
            head += f' {key.removesuffix("_").replace("_", "-")}="{html.escape(str(value))}"'
    return Markup(f"<{head}>") if name in VOID else Markup(f"<{head}>{join(children)}</{name}>")


def join(children: Any) -> Markup:
    """Return children as the markup of one text."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(children, quote=False))
    return Markup("".join(map(join, children)))


def table(header: Any, rows: Any, class_: str | None = None) -> Markup:
    """Return a table that scrolls by itself where it is wider than the page."""
    head = tag("thead", tag("tr", (tag("th", cell, scope="col") for cell in header))) if header else None
    body = tag("tbody", (tag("tr", (tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body, class_=class_), class_="scroll", tabindex="0")


def data_script(name: str, record: Any) -> Markup:
    """Return JSON for a page's script to read.  No text in it can end the element: "<" is written as an escape."""
    text = json.dumps(record, allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)


def asset(name: str) -> str:
    """Return the text of a file in ``web``."""
    return (WEB / name).read_text(encoding="utf-8")


def page(title: str, body: Markup, styles: tuple[str, ...], scripts: tuple[str, ...] = ()) -> str:
    """Return a whole page with the named style sheets and scripts of ``web`` inside."""
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        (tag("style", Markup(asset(name))) for name in styles),
    )
    code = (tag("script", Markup(asset(name))) for name in scripts)
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body, code), lang='en')}\n"
