r"""LaTeX's formulas as people type them where there is no LaTeX: `\frac{1}{2}` is 1/2.

What is not known stays as it is: LaTeX is readable, too.
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
    "quad": " ", "qquad": "  ", "left": "", "right": "", "displaystyle": "", "limits": "",
}  # fmt: skip
_SUPER = str.maketrans("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ")
_SUB = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_GROUP = r"\{([^{}]{0,400})\}"
_WORDS = re.compile(rf"\\(?:text|mathrm|mathbf|mathit|operatorname|boldsymbol|boxed)\s*{_GROUP}")
_FRACTION = re.compile(rf"\\[dt]?frac\s*{_GROUP}\s*{_GROUP}")
_ROOT = re.compile(rf"\\sqrt\s*{_GROUP}")
_COMMAND = re.compile(r"\\([A-Za-z]+)( ?)")
_RAISED = re.compile(r"\^(?:\{([0-9+\-=()n]{1,20})\}|([0-9n]))")
_LOWERED = re.compile(r"_(?:\{([0-9+\-=()]{1,20})\}|([0-9]))")
_ALONE = re.compile(r"[0-9.]*|\w|[\u4e00-\u9fff]+|\\[A-Za-z]+")
"""What needs no brackets above or below a fraction's line."""

_DEPTH = 8


def formula(tex: str) -> str:
    """Return `tex`, the inside of a formula, as a line of text."""
    for _ in range(_DEPTH):  # from the innermost groups outwards
        before = tex
        tex = _WORDS.sub(r"\1", tex)
        tex = _ROOT.sub(lambda found: f"√{_grouped(found[1])}", tex)
        tex = _FRACTION.sub(lambda found: f"{_grouped(found[1])}/{_grouped(found[2])}", tex)
        if tex == before:
            break
    tex = _RAISED.sub(lambda found: (found[1] or found[2]).translate(_SUPER), tex)
    tex = _LOWERED.sub(lambda found: (found[1] or found[2]).translate(_SUB), tex)
    tex = _COMMAND.sub(_symbol, tex)
    return tex.replace(r"\,", " ").replace(r"\;", " ").replace(r"\\", " ").strip()


def _grouped(inner: str) -> str:
    inner = inner.strip()
    return inner if _ALONE.fullmatch(inner) else f"({inner})"


def _symbol(found: re.Match[str]) -> str:
    symbol = _SYMBOLS.get(found[1])
    return found[0] if symbol is None else symbol + found[2]
