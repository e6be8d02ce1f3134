"""Propose what the bot may cost: prices, a daily budget, and limits per user."""

from __future__ import annotations

from typing import NamedTuple

import click

from wxgpt.language import shown, spoken
from wxgpt.setup import checks
from wxgpt.setup.providers import DOLLARS, Price, Provider
from wxgpt.setup.questions import Questions, on_terminal
from wxgptd.wording import say

DAILY_BUDGET = 20.0
DAILY_BUDGET_IN_DOLLARS = 3.0
QUESTIONS_PER_DAY = 100


class Spending(NamedTuple):
    """Money per million tokens and per day, in the provider's currency; questions per user.

    A budget of 0 is no limit; `is_agreed` is false if the operator has not seen the prices.
    """

    price: Price
    daily_budget: float
    questions_per_day: int
    is_agreed: bool


def agree(questions: Questions, preset: Provider) -> Spending:
    """Return the proposal, or what the operator makes of it.

    Without limits, a single follower could use up the balance.
    """
    given = questions.given
    price = checks.price_of(str(given["price"])) if given["price"] else preset.price
    budget = given["daily_budget"]
    per_day = given["questions_per_day"]
    proposal = Spending(
        price=price,
        daily_budget=_default_budget(preset) if budget is None else float(str(budget)),
        questions_per_day=QUESTIONS_PER_DAY if per_day is None else int(str(per_day)),
        is_agreed=not preset.keys,
    )
    if not preset.keys or not on_terminal() or budget is not None:
        return proposal
    click.echo(_described(proposal, preset), err=True)
    if questions.confirm("proposal", say("Is that all right? (n: change it)")):
        return proposal._replace(is_agreed=True)
    return _changed(questions, proposal)


def _default_budget(preset: Provider) -> float:
    if not preset.keys:
        return 0.0
    return DAILY_BUDGET_IN_DOLLARS if preset.currency == DOLLARS else DAILY_BUDGET


def _described(proposal: Spending, preset: Provider) -> str:
    lines = [
        spoken("Proposed, in {currency}:", currency=shown(preset.currency)),
        spoken("  price   {price} per million tokens, input/output", price=proposal.price),
    ]
    if preset.prices:
        lines.append(spoken("          (check it: {prices})", prices=preset.prices))
    lines += [
        spoken(
            "  budget  {budget:g} a day; once it is spent, the bot pauses until midnight",
            budget=proposal.daily_budget,
        ),
        spoken("  limit   {n} questions a day for each user", n=proposal.questions_per_day),
    ]
    return "\n".join(lines)


def _changed(questions: Questions, proposal: Spending) -> Spending:
    price = questions.answer(
        "price", say("Price (input/output)"), checks.price, str(proposal.price)
    )
    budget = questions.answer(
        "daily_budget",
        say("Daily budget (0: no limit)"),
        checks.amount,
        f"{proposal.daily_budget:g}",
    )
    per_day = questions.answer(
        "questions_per_day",
        say("Questions a day for each user (0: no limit)"),
        checks.count,
        str(proposal.questions_per_day),
    )
    return Spending(checks.price_of(price), float(budget), int(per_day), is_agreed=True)
