"""Bugs: the exhibits of the museum, which is part of the tests, and what its kill matrix says about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from minivae.pages.book import code
from minivae.pages.book.evidence import Evidence
from minivae.pages.book.frame import Page
from minivae.pages.book.measured import measured
from minivae.pages.book.symptom import symptom
from minivae.pages.markup import Markup, join, table, tag
from minivae.study import source
from minivae.study.museum import exhibits, functions_of, mutations

KINDS = ("finite differences", "distribution", "oracle", "invariant")
ABSENT = "The museum of bugs is part of the tests, which are not installed here: work from a checkout to see it."
WHY_THEY_PASS = """ Either the backward pass is right, but for the wrong function, or the mistake is in code that is never
differentiated.  A gradient that agrees with finite differences proves that forward and backward belong together, and nothing more.
The distribution of samples, the values themselves, and invariants need checks of their own."""
MARKS = {"yes": "sees it", "no": "blind", "": "does not look here"}


def seen_by(bug: str) -> dict[str, str]:
    """Return kind of check → "yes", "no" or "" for a bug, from the kill matrix."""
    row = next((row for row in measured("museum").rows if row["bug"] == bug), {})
    return {kind: row.get(kind) or "" for kind in KINDS} if row else {}


def bugs_of(places: Sequence[str], evidence: Evidence) -> Iterator[Markup]:
    """Yield the exhibits and the small mistakes of the functions in which these lines are, the first line's before the others'."""
    if not exhibits():
        yield tag("p", ABSENT, class_="note")
        return
    functions = [(place.rpartition(":")[0], source.owner_of(place)) for place in places]
    near = [bug for bug in exhibits() if functions_of(bug) & set(functions[:1])]
    far = [bug for bug in exhibits() if functions_of(bug) & set(functions) and bug not in near]
    yield from (exhibit(bug, evidence) for bug in near)
    if not near:
        yield tag("p", "No exhibit of the museum is in the function of this line.")
    if far:
        title = tag("summary", f"{len(far)} in the functions of the other lines")
        yield tag("details", title, (exhibit(bug, evidence) for bug in far))
    yield from _small_mistakes({(file, name) for file, name in functions if name})


def exhibit(bug: Any, evidence: Evidence) -> Markup:
    """Return a bug as an article: where it was found, its diff, its effect, and which checks see it."""
    sight = seen_by(bug.name)
    chips = (tag("li", kind, ": ", MARKS[answer], class_=f"chip {answer or 'none'}") for kind, answer in sight.items())
    edits = (code.difference(old, new) for old, new in bug.edits)
    facts = (
        tag("p", tag("b", "What it does. "), bug.effect),
        symptom(evidence.symptoms.get(bug.name), evidence.symptoms.get("")),
        tag("p", tag("b", "Who is blind to it. "), bug.blind),
        tag("p", "At home in ", bug.seen, "; here in ", tag("code", f"minivae/{bug.file}"), class_="note"),
    )
    title = tag("h3", bug.name[0].upper() + bug.name[1:])
    return tag("article", title, edits, facts, tag("ul", chips, class_="chips"), class_="exhibit")


def _small_mistakes(here: set[tuple[str, str]]) -> Iterator[Markup]:
    counts = {(f"minivae/{row['file']}", row["function"]): row for row in measured("museum_mutations").rows}
    rows = [(key, counts[key]) for key in sorted(here) if key in counts]
    if not rows:
        return
    yield tag("h3", "Small mistakes, one at a time")
    text = "A wrong sign, a factor, a dropped term, a wrong operand or axis: each was planted here, and all checks were run."
    yield tag("p", text)
    header = ("function", "mistakes", *(f"seen by {kind}" for kind in KINDS), "change nothing")
    cells = ((tag("code", key[1]), row["mutations"], *(row[k] or "–" for k in KINDS), row["equivalent"]) for key, row in rows)
    yield table(header, cells)
    names = [m.name for m in mutations() if (f"minivae/{m.file}", m.function) in here]
    listed = tag("ul", (tag("li", tag("code", name)) for name in names), class_="plain")
    yield tag("details", tag("summary", f"All {len(names)} of them"), listed)


def wall(evidence: Evidence) -> Page:
    """Return the museum's page."""
    return Page("museum", "The museum of bugs", "Bugs that public code has had", _wall(evidence), words="mutants kill matrix")


def _wall(evidence: Evidence) -> Markup:
    """Return the wall: every exhibit, and the kill matrix as a figure."""
    if not exhibits():
        return tag("p", ABSENT, class_="note")
    rows = [seen_by(bug.name) for bug in exhibits()]
    alone = sum(bug.passes_gradcheck for bug in exhibits())
    lead = tag("p", tag("b", f"{alone} of these {len(exhibits())} bugs pass every gradient check."), WHY_THEY_PASS)
    figure = _figure(rows) if measured("museum").rows else None
    groups: dict[int, list[Any]] = {}
    for bug in exhibits():
        groups.setdefault(bug.group, []).append(bug)
    rooms = (
        tag("section", tag("h2", f"Group {group}"), (exhibit(bug, evidence) for bug in bugs)) for group, bugs in groups.items()
    )
    return join((lead, figure, rooms))


def _figure(rows: list[dict[str, str]]) -> Markup:
    """Return the kill matrix: a row for each bug, a column for each kind of check."""
    dots = {"yes": ("●", "sees it"), "no": ("○", "blind"), "": ("·", "does not look")}
    body = (
        (
            bug.name,
            *(
                tag(
                    "span",
                    dots[row.get(kind, "")][0],
                    class_=f"dot-{row.get(kind) or 'none'}",
                    role="img",
                    aria_label=dots[row.get(kind, "")][1],
                )
                for kind in KINDS
            ),
        )
        for bug, row in zip(exhibits(), rows)
    )
    legend = tag("p", "● finds it   ○ checks this place but misses it   · does not check this place", class_="note")
    return tag("figure", tag("figcaption", "Who sees what"), table(("bug", *KINDS), body, "matrix"), legend)
