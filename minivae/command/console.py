"""What the terminal shows: the progress of a training, and tables at the end.

Colour and movement appear only on a terminal, and not where ``NO_COLOR`` is set; elsewhere the same facts are plain lines.  rich
is imported on first use.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from minivae.checks import MinivaeWarning, one_line
from minivae.runs.run import as_json
from minivae.runs.tables import TERMS, VERDICT_STYLES
from minivae.training.at_once import only_watches
from minivae.training.trainer import Hook, Trainer

if TYPE_CHECKING:
    from rich.console import Console

REFRESH = 0.15  # seconds between updates of the live display
PLAIN_LINES = 10  # seconds between lines, where the output is not a terminal
PLAIN_WIDTH = 200  # width of a table that goes to a file or a pipe


class Terminal:
    """Where a command prints to.

    With ``json``, standard output has one line of JSON and nothing else, and text for people goes to standard error.  ``quiet``
    suppresses that text.
    """

    def __init__(self, quiet: bool = False, json: bool = False) -> None:
        self.quiet, self.json = quiet, json

    def _console(self, stderr: bool) -> Console:
        from rich.console import Console

        class Reporting(Console):
            def on_broken_pipe(self) -> None:  # where rich would end the process, and a training with it
                raise BrokenPipeError

        console = Reporting(stderr=stderr, quiet=self.quiet, highlight=False, emoji=False)
        if not console.is_terminal:
            console.width = PLAIN_WIDTH
        return console

    @property
    def out(self) -> Console:
        return self._console(stderr=self.json)

    def line(self, text: str) -> None:
        """Print one line as it is, however long."""
        self.out.print("\n".join(map(one_line, text.split("\n"))), markup=False, soft_wrap=True)

    def table(self, title: str, rows: Iterable[Iterable[str]], header: Sequence[str] = ()) -> None:
        """Print rows of text under a title; without a header, the columns are name, value and remark."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(one_line(title)), title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.show_header = bool(header)
        for heading, style in zip(header or ("", "", ""), ("",) * len(header) or ("", "bold", "dim")):
            table.add_column(heading, style=style, overflow="fold")
        for row in rows:
            table.add_row(*(Text(one_line(cell), style=VERDICT_STYLES.get(cell, "")) for cell in row))
        self.out.print()
        self.out.print(table)

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Print this package's own warnings as lines, once each, even with ``quiet``."""
        with warnings.catch_warnings():
            warnings.simplefilter("once", MinivaeWarning)
            known = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
                if issubclass(category, MinivaeWarning):
                    with suppress(OSError):
                        print(f"minivae: warning: {message}", file=sys.stderr)
                else:
                    known(message, category, *place, **rest)

            warnings.showwarning = show
            yield

    def result(self, record: dict[str, Any]) -> None:
        """Print the JSON line, if one was asked for."""
        if self.json:
            sys.stdout.write(as_json(record) + "\n")

    @contextmanager
    def training(self, title: str) -> Iterator[dict[str, Hook]]:
        """Yield the hooks for ``fit`` that show its progress on standard error, with the title once training has started."""
        console = self._console(stderr=True)
        moving = console.is_terminal and not console.is_dumb_terminal
        if self.quiet:
            yield {}
            return
        display = _Live(console, title) if moving else _Plain(console, title)
        try:
            yield {"on_step": display.on_step, "on_epoch": display.on_epoch}
        finally:
            display.close()


class _Plain:
    """Prints the title, and at intervals a line about the current epoch."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title, self.started, self.first = console, title, 0.0, 0

    def begin(self) -> None:
        self.started = time.perf_counter()
        self.say(self.title)

    def say(self, text: str) -> None:
        with suppress(OSError):  # a closed standard error does not stop the training
            self.console.print(one_line(text), markup=False, soft_wrap=True)

    def close(self) -> None:
        pass

    @only_watches
    def on_step(self, trainer: Trainer) -> None:
        if not self.started:
            self.first = trainer.step - 1  # not 0 in a resumed training
            self.begin()

    def on_epoch(self, trainer: Trainer) -> None:
        epochs = trainer.model.epochs
        if trainer.epoch % max(1, epochs // PLAIN_LINES) == 0 or trainer.epoch == epochs:
            self.say(f"epoch {trainer.epoch}/{epochs}  {facts(trainer)}  {self.pace(trainer)}")

    def pace(self, trainer: Trainer) -> str:
        """Return the average speed, and the remaining time at that speed."""
        made, total = trainer.step - self.first, trainer.model.epochs * trainer.steps_per_epoch
        seconds = time.perf_counter() - self.started
        speed = made / trainer.steps_per_epoch * len(trainer.train) / seconds
        minutes, left = divmod(round(seconds * (total - trainer.step) / made), 60)
        clock = f"{minutes // 60}:{minutes % 60:02}:{left:02}" if minutes >= 60 else f"{minutes}:{left:02}"
        return f"{speed:,.0f} examples/s  {clock} left"


class _Live(_Plain):
    """Shows a progress bar with speed and remaining time, and the terms below it, updated a few times a second."""

    def __init__(self, console: Console, title: str) -> None:
        super().__init__(console, title)
        from rich.console import RenderableType
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        class Display(Progress):
            line = ""

            def get_renderables(self) -> Iterable[RenderableType]:
                yield self.make_tasks_table(self.tasks)
                yield Text(self.line, style="cyan")

        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.fields[pace]}", style="dim"))
        self.display = Display(*columns, console=console, transient=True)
        self.shown = 0.0

    def begin(self) -> None:
        super().begin()
        self.task = self.display.add_task("", total=None, epoch="", pace="")
        self.display.start()

    def close(self) -> None:
        self.display.stop()

    @only_watches
    def on_step(self, trainer: Trainer) -> None:
        super().on_step(trainer)
        if time.perf_counter() - self.shown > REFRESH:
            self.shown = time.perf_counter()
            epochs = trainer.model.epochs
            self.display.line = facts(trainer)
            self.display.update(
                self.task,
                total=epochs * trainer.steps_per_epoch,
                completed=trainer.step,
                epoch=f"{min(trainer.epoch + 1, epochs)}/{epochs}",
                pace=self.pace(trainer),
            )

    def on_epoch(self, trainer: Trainer) -> None:
        self.on_step(trainer)


def facts(trainer: Trainer) -> str:
    """Return the terms of this epoch so far, and the latest count of active units, on one line."""
    terms = trainer.model.summarize(trainer.running)
    if "elbo" in terms and f"{terms['loss']:.2f}" == f"{-terms['elbo']:.2f}":
        del terms["loss"]  # said already
    parts = [f"{TERMS.get(name, name)} {value:.2f}" for name, value in terms.items()]
    if active := trainer.history.get("active_units"):
        parts.append(f"active units {active[-1]}/{trainer.model.latent_dim}")
    return "  ".join(parts)
