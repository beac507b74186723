"""What an exhibit is."""

from __future__ import annotations

from dataclasses import dataclass

from museum.mutants import Edited


@dataclass(frozen=True, kw_only=True)
class Bug(Edited):
    """A bug that public code for variational autoencoders has had, written into ours.

    Attributes
    ----------
    group : its number in the catalogue, from 1 to 16.
    seen : the kind of code in which such a bug is at home.
    effect : what it does.
    blind : which checks cannot see it, and why.
    passes_gradcheck : whether all comparisons with finite differences pass: the backward is right, for the wrong function.
    """

    group: int
    seen: str
    effect: str
    blind: str
    passes_gradcheck: bool
