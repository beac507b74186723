"""The book's pages of measured figures: each shows the committed table, row by row, and what it was measured on."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace

from support.tables import comments_of, rows_of

from minivae.pages.book import questions
from minivae.pages.book.measured import RESULTS

WAITING = ("card", "pixels", "published", "of epochs")


def cells_of(page: str) -> list[tuple[str, ...]]:
    """Return the text of the cells of every row of the tables in a page."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [tuple(html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td.*?>(.*?)</td>", row)) for row in rows]


def test_nats_to_expect_are_the_last_figure_of_each_repeated_run(monkeypatch):
    monkeypatch.setattr(questions.experiments, "trained", lambda beta: SimpleNamespace(elbo=-1.0, reconstruction=0.5, kl=0.5))
    page = str(questions.join(questions._nats()))
    last = {(row["card"], row["seed"]): row for row in rows_of(RESULTS / "papers.csv")}
    assert len(last) >= 8
    summary = {(row["card"], row["seed"]): row for row in rows_of(RESULTS / "papers_summary.csv")}
    for key, row in last.items():
        found = next(cells for cells in cells_of(page) if cells[:2] == key)
        one = summary[key]
        assert found[2:6] == (one["pixels"], one["published"], f"{row['figure']} ± {row['± s.e.']}", one["verdict"])
        assert found[6:10] == (row["active"], row["samples"], f"{row['epochs']} of {row['of epochs']}", row["core hours"])
        assert all(f"; {processor}; " in row["machine"] for processor in found[10].split(" / "))
    _, *waiting = cells_of(page.partition("Not begun")[2])  # the header has none
    assert waiting == [tuple(summary[key][name] for name in WAITING) for key in summary if key not in last]
    assert f"minivae evaluate {questions.repeated()[0]}" in page


def test_the_ladder_of_launches_is_the_one_that_was_measured():
    page = str(questions.join(questions._gpu()))
    (device,) = (line.removeprefix("# ") for line in comments_of(RESULTS / "gpu_ladder.csv") if line.startswith("# device: "))
    assert device in html.unescape(page)
    rows = [row for row in rows_of(RESULTS / "gpu_ladder.csv") if row.pop("work") == "A"]
    assert len(rows) > 1
    for row in rows:
        assert tuple(row.values()) in cells_of(page)
