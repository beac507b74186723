"""The book's page "What nats should I get?": every row of the committed table, with what was published and how far the run is."""

from __future__ import annotations

import csv
from types import SimpleNamespace

from minivae.pages.book import questions


def test_page_has_the_last_row_of_each_run_with_its_published_figure(monkeypatch):
    monkeypatch.setattr(questions.experiments, "trained", lambda beta: SimpleNamespace(elbo=-1.0, reconstruction=0.5, kl=0.5))
    page = str(questions.join(questions._nats()))
    with (questions.RESULTS / "papers.csv").open(newline="", encoding="utf-8") as file:
        last = {(row["card"], row["seed"]): row for row in csv.DictReader(file)}
    assert len(last) >= 8
    for (card, seed), row in last.items():
        cells = [card, seed, f"{row['epochs']} of {row['of epochs']}", row["samples"], row["published"]]
        cells += [f"{row['figure']} ± {row['± s.e.']}", row["active"], row["core hours"]]
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page.replace('<td class="number">', "<td>")
    assert f"minivae evaluate {questions.repeated()[0]}" in page
