r"""LaTeX formulas as people type them without LaTeX: `\frac{1}{2}` is 1/2.

Unknown commands are left unchanged: LaTeX is readable, too.
"""

from __future__ import annotations

import re

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ",
    "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ",
    "Theta": "Θ", "Lambda": "Λ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "ast": "*", "circ": "∘",
    "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈",
    "equiv": "≡", "sim": "∼", "propto": "∝", "ll": "≪", "gg": "≫", "infty": "∞",
    "partial": "∂", "nabla": "∇", "sum": "∑", "prod": "∏", "int": "∫", "oint": "∮",
    "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩",
    "emptyset": "∅", "forall": "∀", "exists": "∃", "neg": "¬", "land": "∧", "lor": "∨",
    "to": "→", "rightarrow": "→", "Rightarrow": "⇒", "implies": "⇒", "leftarrow": "←",
    "leftrightarrow": "↔", "iff": "⇔", "ldots": "…", "cdots": "⋯", "dots": "…", "prime": "′",
    "angle": "∠", "degree": "°", "perp": "⊥", "parallel": "∥", "therefore": "∴", "because": "∵",
    "log": "log", "ln": "ln", "lg": "lg", "exp": "exp", "sin": "sin", "cos": "cos", "tan": "tan",
    "cot": "cot", "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "lim": "lim",
    "max": "max", "min": "min", "sup": "sup", "inf": "inf", "det": "det", "gcd": "gcd",
    "bmod": "mod", "mod": "mod", "sec": "sec", "csc": "csc", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "coth": "coth", "arg": "arg", "hom": "hom", "Pr": "Pr", "limsup": "lim sup",
    "liminf": "lim inf", "injlim": "inj lim", "projlim": "proj lim", "deg": "deg", "dim": "dim",
    "ker": "ker", "mid": "|", "vert": "|",
    "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "star": "⋆", "oplus": "⊕", "otimes": "⊗", "hbar": "ħ", "ell": "ℓ", "cong": "≅",
    "quad": " ", "qquad": "  ", "left": "", "right": "", "displaystyle": "", "limits": "",
}  # fmt: skip
_SUPER = str.maketrans("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ")
_SUB = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_GROUP = r"\{([^{}]{0,400})\}"
_WORDS = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|mathit|mathcal|operatorname|boldsymbol|boxed|vec|hat|bar|tilde"
    rf"|overline|underline|ce)\s*{_GROUP}"
)
_OVERLINE = re.compile(r"\\overline\s*\{([0-9]{1,20})\}")
"""Repeating digits, as in 0.3̅."""
_DOUBLE = re.compile(r"\\mathbb\s*(?:\{([A-Z])\}|([A-Z]))")
_DOUBLED = str.maketrans("CHNPQRZ", "ℂℍℕℙℚℝℤ")
_BINOMIAL = re.compile(rf"\\[dt]?binom\s*{_GROUP}\s*{_GROUP}")
_FRAME = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z]{1,20}\*?\}(?:\{[^{}]{0,40}\})?")
_MODULO = re.compile(r"\\pmod\s*(?:\{([^{}]{0,60})\}|(\w))")
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))")
_SINGLE = re.compile(r"([_^])\{(\w)\}")
_FRACTION = re.compile(rf"\\[dt]?frac\s*{_GROUP}\s*{_GROUP}")
_ROOT = re.compile(rf"\\sqrt\s*(?:\[([0-9n]{{1,3}})\])?\s*{_GROUP}")
_COMMAND = re.compile(r"\\([A-Za-z]+)( ?)")
_RAISED = re.compile(r"\^(?:\{([0-9+\-=()n]{1,20})\}|([0-9n]))")
_LOWERED = re.compile(r"_(?:\{([0-9+\-=()]{1,20})\}|([0-9]))")
_ALONE = re.compile(r"[0-9.]*|\w|[\u4e00-\u9fff]+|\\[A-Za-z]+")
"""Operands of a fraction or a root that need no brackets."""

_DEPTH = 8

_MARKS = {
    "\\\\": "\n", r"\,": " ", r"\;": " ", r"\:": " ", r"\!": "", r"\%": "%", r"\{": "{", r"\}": "}",
    r"\_": "_", r"\&": "\0", "&": " ", "\0": "&",
}  # fmt: skip
"""Applied in this order: line ends, spaces, escaped characters, columns."""


def formula(tex: str) -> str:
    """Return `tex`, a formula without its delimiters, as plain text."""
    tex = _FRAME.sub("", _DEGREE.sub("°", _MODULO.sub(r"(\\mod \1\2)", tex)))
    tex = _DOUBLE.sub(lambda match: (match[1] or match[2]).translate(_DOUBLED), tex)
    for _ in range(_DEPTH):  # from the innermost groups outwards
        before = tex
        tex = _OVERLINE.sub(lambda match: "".join(f"{digit}\u0305" for digit in match[1]), tex)
        tex = _WORDS.sub(r"\1", tex)
        tex = _ROOT.sub(_root, tex)
        tex = _BINOMIAL.sub(r"C(\1, \2)", tex)
        tex = _FRACTION.sub(_fraction, tex)
        if tex == before:
            break
    tex = _RAISED.sub(lambda match: (match[1] or match[2]).translate(_SUPER), tex)
    tex = _LOWERED.sub(lambda match: (match[1] or match[2]).translate(_SUB), tex)
    tex = _COMMAND.sub(_symbol, _SINGLE.sub(r"\1\2", tex))
    for mark, shown in _MARKS.items():
        tex = tex.replace(mark, shown)
    return "\n".join(line.strip() for line in tex.split("\n")).strip()


def _fraction(match: re.Match[str]) -> str:
    """Return a fraction on one line, separated from adjacent numbers: 1 1/2 is not 11/2."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    gap = " " if before.isdigit() else "·" if before == "}" else ""
    times = "·" if after.isalnum() else ""
    return f"{gap}{_grouped(match[1])}/{_grouped(match[2])}{times}"


def _root(match: re.Match[str]) -> str:
    degree = "" if match[1] in (None, "2") else match[1].translate(_SUPER)
    times = "·" if match.string[match.end() :][:1].isalnum() else ""
    return f"{degree}√{_grouped(match[2])}{times}"


def _grouped(inner: str) -> str:
    inner = inner.strip()
    return inner if _ALONE.fullmatch(inner) else f"({inner})"


def _symbol(match: re.Match[str]) -> str:
    symbol = _SYMBOLS.get(match[1])
    return match[0] if symbol is None else symbol + match[2]
