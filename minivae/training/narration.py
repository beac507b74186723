"""What a training prints with the setting ``verbose``: a line for every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minivae.training.trainer import Hook, Trainer


def telling(on_epoch: Hook | None) -> Hook:
    """Return an ``on_epoch`` hook that prints the losses in nats per example and the time, and then calls another one."""

    def tell(trainer: Trainer) -> None:
        last = {name: values[-1] for name, values in trainer.history.items()}
        losses = ", ".join(f"{name} {last[name]:.2f}" for name in ("train_loss", "test_loss") if name in last)
        print(f"epoch {trainer.epoch}/{trainer.model.epochs}: {losses}, {last['seconds']:.2f} s", flush=True)
        if on_epoch:
            on_epoch(trainer)

    return tell
