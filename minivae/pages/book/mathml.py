"""From the Unicode mathematics of the docstrings to MathML, which browsers typeset and screen readers read.

The notation is what the docstrings use: "σ²_ij", "e^−|ℓ|", "Σ_j", "∂kl/∂μ", "(μ − m)² / τ²", "ρ̂", "½".  Nothing is simplified or
reordered: read from left to right, the result has the tokens of the text.  A slash without spaces divides its two neighbours, and a
slash between spaces divides the whole product at its left.  Words of prose between formulas stay text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from minivae.pages.markup import Markup, join, tag

SUPERSCRIPTS, SUBSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˢˣʸᶻᵀᵏⁱʰ", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑᵢⱼₖₗₘₙₒₓₛₜ"
TOKEN = re.compile(
    r"""(?P<code>``[^`]+``|"[^"]*"|[A-Za-z]{2,}(?:_[A-Za-z]{3,})+(?:=\(\))?|[A-Z]\.\d|[a-z_]+\.[a-z_]+\w)"""
    r"|(?P<word>[A-Za-z]{2,}[0-9]\w*(?:-\d+)?|[A-Za-z]+['’-][A-Za-z]+|[A-Za-z]{2,})"
    r"|(?P<letter>[A-Za-zΑ-ΟΡΤ-Ωα-ωϕℓℝ][\u0302\u0303\u0304]?)|(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<half>[½⅓¼])"
    rf"|(?P<raised>[{SUPERSCRIPTS}]+)|(?P<lowered>[{SUBSCRIPTS}]+)|(?P<space>\s+)|(?P<sign>:=|.)"
)
SCRIPT = re.compile(r"\d+|[A-Za-zα-ωℓ]+|[A-Za-zα-ω]?\d+")
FUNCTIONS = {"log", "exp", "expm1", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "max", "min", "sign", "round"}
NAMES = FUNCTIONS | {"KL", "ELBO", "MIG", "TC", "MI", "MMD", "SAP", "DCI", "Var", "Cov", "var", "out", "nll", "kl", "loss"}
OPENING, CLOSING = "([{⌊", {"(": ")", "[": "]", "{": "}", "⌊": "⌋"}
LARGE, PREFIXES = "Σ∏∫", "∂∇√"
DIVIDERS = set("=+−±≤≥<>≈≠~→←:,;.…‖|·⊙×") | {":="}
OPERATORS = DIVIDERS - set(",;.:…") | set("/^_")
BREAKING, LONG = set("=+−≤≥≈"), 30
ACCENTS = {"\u0302": "^", "\u0303": "~", "\u0304": "¯"}


@dataclass(frozen=True)
class Piece:
    """A part of a formula: its markup, what it is, and whether a space stood before it."""

    markup: Markup
    kind: str  # operand, sign, large, text
    spaced: bool = False
    breaks: bool = False  # a line may end before it


def typeset(text: str) -> Markup:
    """Return text with the mathematics in it as MathML and the prose around it as it is."""
    parts: list[Markup | str] = []
    for section in re.split(r"\s{3,}", text.strip()):
        parts += ["\u2003"] * bool(parts)
        for prose, chunk in _prose_apart(section):
            parts.append(chunk if prose else formula(chunk))
    return join(parts)


def formula(text: str) -> Markup:
    """Return one formula in MathML; its neighbouring spaces stay outside.

    A long one is cut before its relations, plus and minus signs into several elements, since a browser breaks no line within one.
    """
    inner = text.strip()
    parts: list[list[Piece]] = [[]]
    for piece in Reader(inner).sequence():
        if len(inner) > LONG and piece.breaks and parts[-1]:
            parts.append([])
        parts[-1].append(piece)
    maths = [tag("math", _row(part), displaystyle="true") for part in parts]
    spaced = [Markup(" ")] * (2 * len(maths) - 1)
    spaced[::2] = maths
    return join([text[: len(text) - len(text.lstrip())], spaced, text[len(text.rstrip()) :]])


def _prose_apart(text: str) -> list[tuple[bool, str]]:
    """Split text into runs of prose and of mathematics: (whether it is prose, text)."""
    tokens = [(match.lastgroup or "", match[0]) for match in TOKEN.finditer(text)]
    solid = [i for i, (kind, _) in enumerate(tokens) if kind != "space"]
    depth, prose = 0, [False] * len(tokens)
    for place, i in enumerate(solid):
        kind, token = tokens[i]
        depth += token in CLOSING
        before = tokens[solid[place - 1]] if place else ("", "")
        after = tokens[solid[place + 1]] if place + 1 < len(solid) else ("", "")
        tight = i + 1 < len(tokens) and tokens[i + 1][1] in ("(", "[", "_", "^")
        touched = before[1] in OPERATORS | set("∂√∇−") or after[1] in OPERATORS or tight
        if not depth:
            amid_words = before[0] == "word" or after[0] == "word"
            known = (token in NAMES and not before[0] == after[0] == "word") or re.fullmatch("d[a-z]", token)
            prose[i] = kind == "code" or (kind == "word" and not known and (amid_words or not touched))
        depth -= token in CLOSING.values()
    for place, i in enumerate(solid):  # an article, and the commas of prose
        left = prose[solid[place - 1]] if place else True
        right = prose[solid[place + 1]] if place + 1 < len(solid) else left
        if (tokens[i][1] in ("a", "A") and right) or (tokens[i][1] in (",", ".", ":", ";") and (left or right)):
            prose[i] = prose[i] or tokens[i][1] in ("a", "A") or left
    runs: list[tuple[bool, str]] = []
    for i, (kind, token) in enumerate(tokens):
        is_prose = runs[-1][0] if kind == "space" and runs else prose[i]
        if runs and runs[-1][0] == is_prose:
            runs[-1] = (is_prose, runs[-1][1] + token)
        else:
            runs.append((is_prose, token))
    return [(is_prose or not re.search(r"[^\s,.;:]", run), run) for is_prose, run in runs]


class Reader:
    """Reads a formula token by token."""

    def __init__(self, text: str) -> None:
        self.tokens = [(match.lastgroup or "", match[0]) for match in TOKEN.finditer(text)]
        self.place = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        return self.tokens[self.place + ahead] if self.place + ahead < len(self.tokens) else ("", "")

    def take(self) -> tuple[str, str]:
        self.place += 1
        return self.tokens[self.place - 1]

    def skip_space(self) -> bool:
        spaced = self.peek()[0] == "space"
        self.place += spaced
        return spaced

    def sequence(self, closing: str = "") -> list[Piece]:
        """Read up to a closing bracket, which stays, or to the end."""
        pieces: list[Piece] = []
        while True:
            spaced = self.skip_space()
            kind, token = self.peek()
            if not kind or token == closing:
                return pieces
            if token == "/" and pieces and pieces[-1].kind == "operand":
                self.take()
                over = [pieces.pop()]
                while spaced and pieces and over[0].kind == pieces[-1].kind == "operand":
                    over.insert(0, pieces.pop())
                self.skip_space()
                pieces.append(Piece(tag("mfrac", _row(over), self.application().markup), "operand", over[0].spaced))
                continue
            piece = self.application()
            markup, breaks = piece.markup, spaced and token in BREAKING and not closing
            if token in "+−±" and markup.startswith("<mo>"):
                unary = not pieces or pieces[-1].kind == "sign"
                markup = tag("mo", token, form="prefix" if unary else "infix")
            pieces.append(Piece(markup, piece.kind, spaced, breaks))

    def application(self) -> Piece:
        """Read one operand, or a function together with what it is applied to."""
        token = self.peek()[1]
        piece = self.scripted()
        if (token in FUNCTIONS and piece.kind == "operand") or token in PREFIXES:
            spaced = self.skip_space()
            follower = self.peek()
            if follower[0] in ("letter", "word", "number", "half") or follower[1] in (*OPENING, *PREFIXES):
                argument = self.application()
                if token == "√":
                    return Piece(tag("msqrt", argument.markup), "operand")
                return Piece(_row([piece, Piece(argument.markup, "operand", spaced)]), "operand")
            self.place -= spaced
        return piece

    def scripted(self) -> Piece:
        """Read one operand or sign, with the sub- and superscripts behind it."""
        piece = self.atom()
        base, raised = piece.markup, None
        while True:
            kind, token = self.peek()
            large = "under" if piece.kind == "large" else "sub"
            if kind == "raised" or token == "^":
                base, raised = base if raised is None else tag("msup", base, raised), self.script()
            elif kind == "lowered" or (token == "_" and self.peek(1)[0]):
                lowered = self.script()
                base = tag(f"m{large}", base, lowered) if raised is None else tag("msubsup", base, lowered, raised)
                raised = None
            else:
                break
        return Piece(base if raised is None else tag("msup", base, raised), piece.kind)

    def script(self) -> Markup:
        """Read what stands above or below the line."""
        kind, token = self.take()
        if kind in ("raised", "lowered"):
            return _row(Reader(unicodedata.normalize("NFKC", token)).sequence())
        if self.peek()[1] == "{":
            self.take()
            inside = self.sequence("}")
            self.take()
            return _row(inside)
        signs = []
        while self.peek()[1] in ("−", "-", "+"):
            signs.append(Piece(tag("mo", self.take()[1]), "sign"))
        if self.peek()[1] == "|":
            self.take()
            inside = self.sequence("|")
            self.take()
            bar = Piece(tag("mo", "|", stretchy="false"), "sign")
            return _row([*signs, bar, *inside, bar])
        kind, name = self.peek()
        if token == "_" and kind == "word" and len(name) < 4 and name not in FUNCTIONS:
            self.take()
            return _row([Piece(tag("mi", letter), "operand") for letter in name])
        return _row([*signs, self.application() if token == "^" else self.atom()])

    def atom(self) -> Piece:
        kind, token = self.take()
        if kind == "letter":
            symbol = tag("mi", token[0])
            accent = tag("mo", ACCENTS[token[1]], stretchy="false") if len(token) > 1 else None
            return Piece(tag("mover", symbol, accent, accent="true") if accent else symbol, "operand")
        if kind == "number":
            return Piece(tag("mn", token), "operand")
        if kind == "half":
            over, _, under = unicodedata.normalize("NFKC", token).partition("⁄")
            return Piece(tag("mfrac", tag("mn", over), tag("mn", under)), "operand")
        if kind == "word" and re.fullmatch("d[a-z]", token):
            return Piece(tag("mrow", tag("mi", "d", mathvariant="normal"), tag("mi", token[1])), "operand")
        if kind == "word":
            return Piece(tag("mi", token), "operand")
        if kind == "code":
            return Piece(tag("mtext", token.replace("``", "")), "operand")
        if token in OPENING:
            inside = self.sequence(CLOSING[token])
            closed = self.take()[1] if self.peek()[0] else ""
            brackets = [Piece(tag("mo", sign, stretchy="false"), "sign") for sign in (token, closed) if sign]
            return Piece(_row([*brackets[:1], *inside, *brackets[1:]]), "operand")
        if token in LARGE:
            return Piece(tag("mo", "∑" if token == "Σ" else token, largeop="true"), "large")
        if token in PREFIXES:
            return Piece(tag("mi", token) if token != "√" else tag("mo", token), "sign" if token == "√" else "operand")
        token = token.replace("~", "∼")  # the sign for "is distributed as", which has its spaces
        fence = {"stretchy": "false", "lspace": "0.1em", "rspace": "0.1em"} if token in "|‖" else {}
        return Piece(tag("mo", token, **fence), "sign" if token in DIVIDERS or not kind else "operand")


def _row(pieces: list[Piece]) -> Markup:
    """Return pieces side by side, a thin space where two operands stood apart."""
    parts: list[Markup] = []
    for i, piece in enumerate(pieces):
        if i and piece.spaced and {piece.kind, pieces[i - 1].kind} <= {"operand", "large"}:
            parts.append(tag("mspace", width="0.22em"))
        parts.append(piece.markup)
    return parts[0] if len(parts) == 1 else tag("mrow", parts)
