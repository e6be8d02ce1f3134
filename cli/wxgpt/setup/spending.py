"""Propose what the bot may cost: prices, a daily budget, and limits per user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.render import number
from wxgpt.setup import checks
from wxgpt.setup.model_choice import Choice
from wxgpt.setup.providers import DOLLARS, Price, Provider
from wxgpt.setup.questions import Questions, on_terminal
from wxgptd.wording import say

DAILY_BUDGET = 20.0
DAILY_BUDGET_IN_DOLLARS = 3.0
QUESTIONS_PER_DAY = 100
OPTIONS = ("price", "daily_budget", "questions_per_day")


class Spending(NamedTuple):
    """Money per million tokens and per day, in the provider's currency; questions per user.

    A budget of 0 is no limit. `is_counted` is false if the model costs nothing; `is_agreed` is
    false if the operator has not seen the prices.
    """

    price: Price
    daily_budget: float
    questions_per_day: int
    is_counted: bool
    is_agreed: bool

    def __str__(self) -> str:
        return f"{self.price} {number(self.daily_budget)} {self.questions_per_day}"


def require_valid(given: Mapping[str, object]) -> None:
    """Check the options.

    Raises:
        UsageFailure: one is not valid; names it.
    """
    for option, check in (("price", checks.price), ("daily_budget", checks.amount)):
        if given[option] is not None:
            try:
                check(str(given[option]))
            except UsageFailure as failure:
                name = f"--{option.replace('_', '-')}"
                raise UsageFailure(say("{name}: {why}", name=name, why=failure)) from None
    price, budget = given["price"], given["daily_budget"]
    is_free = price is not None and not any(checks.price_of(str(price)))
    if is_free and budget is not None and checks.amount_of(str(budget)):
        raise UsageFailure(
            say("a budget has no effect without a price"), hint=say("omit --daily-budget")
        )


def agree(questions: Questions, choice: Choice) -> Spending:
    """Return the proposal, or what the operator makes of it.

    Without limits, a single follower could use up the balance.
    """
    given = {name: questions.given[name] for name in OPTIONS}
    is_given = [value is not None for value in given.values()]
    proposal = _proposed(choice, given)
    if not choice.preset.keys or not on_terminal() or all(is_given):
        return proposal
    before, _, model = questions.kept_text("proposal").partition("|")
    is_same = model == choice.model and not any(is_given)
    if is_same and (agreed := _parsed(before, proposal)) is not None:
        proposal = agreed
    click.echo(_described(proposal, choice.preset), err=True)
    if before != str(proposal) or model != choice.model:
        asked = say("Is that all right? (n: change it)")
        if not questions.confirm("", asked):
            proposal = _changed(questions, proposal)
        questions.keep("proposal", f"{proposal}|{choice.model}")
    return proposal._replace(is_agreed=True)


def _proposed(choice: Choice, given: dict[str, object]) -> Spending:
    preset = choice.preset
    default = DAILY_BUDGET_IN_DOLLARS if preset.currency == DOLLARS else DAILY_BUDGET
    given_price, budget, per_day = given.values()
    price = checks.price_of(str(given_price)) if given_price is not None else choice.price
    if not any(price) or not preset.keys:
        default = 0.0  # it would have no effect, or there is nothing to pay
    return Spending(
        price=price,
        daily_budget=default if budget is None else checks.amount_of(str(budget)),
        questions_per_day=int(str(per_day)) if per_day is not None else QUESTIONS_PER_DAY,
        is_counted=bool(preset.keys) or given_price is not None or bool(budget),
        is_agreed=given_price is not None or not preset.keys,
    )


def _parsed(kept: str, proposal: Spending) -> Spending | None:
    """Return what was agreed in an earlier run, or None if it cannot be read."""
    try:
        price, budget, per_day = kept.split()
        return proposal._replace(
            price=checks.price_of(price),
            daily_budget=checks.amount_of(budget),
            questions_per_day=int(checks.count(per_day)),
        )
    except (ValueError, UsageFailure):
        return None


def _described(proposal: Spending, preset: Provider) -> str:
    lines = [
        spoken("Proposed, in {currency}:", currency=shown(preset.currency)),
        spoken("  price   {price} per million tokens, input/output", price=proposal.price),
    ]
    if preset.prices:
        lines.append(spoken("          (check it: {prices})", prices=preset.prices))
    lines += [
        spoken(
            "  budget  {budget} a day; once it is spent, the bot pauses until midnight",
            budget=number(proposal.daily_budget),
        ),
        spoken("  limit   {n} questions a day for each user", n=proposal.questions_per_day),
    ]
    return "\n".join(lines)


def _changed(questions: Questions, proposal: Spending) -> Spending:
    price = questions.ask(
        say("Price (input/output, such as 2/8)"), checks.price, str(proposal.price)
    )
    budget = "0"
    if any(checks.price_of(price)):
        budget = questions.ask(
            say("Daily budget (0: no limit)"), checks.amount, number(proposal.daily_budget)
        )
    per_day = questions.ask(
        say("Questions a day for each user (0: no limit)"),
        checks.count,
        str(proposal.questions_per_day),
    )
    return proposal._replace(
        price=checks.price_of(price),
        daily_budget=checks.amount_of(budget),
        questions_per_day=int(per_day),
    )
