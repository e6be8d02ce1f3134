"""Deliberate timeouts: the remaining budget, and its automatic size."""

from __future__ import annotations

import pytest
from twisted.logger import globalLogPublisher

from tests.support.builders import ALICE, asked
from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.decide.timeout_budget import INITIAL_SIZE
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import AccountName, DeliveryKey, OpenId, User, account_itself
from wxgptd.service.state.timeouts import DeliberateTimeouts

MAIN, OTHER = AccountName("main"), AccountName("other")


class Account:
    """One account's deliberate timeouts; each arrival is a new message, and times are in seconds."""

    def __init__(self, fixed: int | None = None) -> None:
        self.responsive_since: float | None = 0.0
        self.timeouts = DeliberateTimeouts(fixed, lambda: self.responsive_since)
        self.changes: list[e.TimeoutBudgetSet] = []
        self._next = 0

    def arrive(self, at: float, user: str = "alice", delivery: str = "") -> str:
        self._next += 1
        name = delivery or f"m{self._next}"
        changed = self.timeouts.arrived(User(MAIN, OpenId(user)), DeliveryKey(name), at)
        if changed is not None:
            self.changes.append(changed)
            self.timeouts.replay(account_itself(MAIN), changed)
        return name

    def time_out(self, at: float, user: str = "alice", *, retried: bool = True) -> bool:
        """Let a message that arrives at `at` time out if the budget allows; return whether it did."""
        name = self.arrive(at, user)
        spent = self.timeouts.spend(User(MAIN, OpenId(user)), DeliveryKey(name), at + 4.6)
        if spent and retried:
            self.arrive(at + 5.0, user, name)
        return spent

    def left(self, at: float) -> int:
        return self.timeouts.left(MAIN, at)

    def silence(self, at: float, users: str = "abcde") -> None:
        """Let attempts time out without WeChat retrying them."""
        for number, user in enumerate(users):
            self.time_out(at + 0.1 * number, user, retried=False)


@pytest.fixture
def logged():
    seen = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


def spend(timeouts: DeliberateTimeouts, at: float, account: AccountName = MAIN) -> bool:
    return timeouts.spend(User(account, OpenId("o")), DeliveryKey(str(at)), at)


def test_a_budget_covers_five_minutes_per_account():
    timeouts = DeliberateTimeouts(2, lambda: None)
    assert spend(timeouts, 0.0)
    assert spend(timeouts, 1.0)
    assert not spend(timeouts, 5.9)
    assert spend(timeouts, 1.0, OTHER)
    assert timeouts.left(MAIN, 299.0) == 0
    assert timeouts.left(MAIN, 300.0) == 1
    assert timeouts.left(MAIN, 302.0) == 2


def test_a_spent_budget_is_logged_once_until_it_recovers(logged):
    account = Account(fixed=8)
    for at in range(16):
        account.time_out(10.0 * at)
    assert len(logged) == 1
    for at in range(8):  # one becomes free every ten seconds and is spent at once
        account.time_out(300.5 + 10.0 * at)
    assert len(logged) == 1
    assert account.time_out(900.0)
    assert "available again" in str(logged[1]["log_format"])


def test_timeouts_in_the_log_still_count_after_a_restart():
    history = asked("q1", at=0.0)
    history.say("为什么？", "q1", at=5.0)
    history.say("为什么？", "q1", at=10.0)
    timeouts = DeliberateTimeouts(3, lambda: None)
    for event in history.events:
        if type(event) in timeouts.replays:
            timeouts.replay(ALICE, event)
    assert timeouts.left(MAIN, 11.0) == 1


def test_an_answer_before_wechat_hangs_up_costs_nothing():
    account = Account(fixed=1)
    name = account.arrive(0.0)
    user, delivery = User(MAIN, OpenId("alice")), DeliveryKey(name)
    assert account.timeouts.spend(user, delivery, 4.6)
    account.timeouts.refund(user, delivery)
    assert account.left(4.9) == 1
    account.silence(10.0, "abcd")
    assert not account.timeouts.is_suspected(MAIN, 30.0)


def test_a_budget_that_becomes_automatic_does_not_count_as_used_up():
    account = Account(fixed=5)
    busy(account, 0.0, 100.0)
    account.timeouts.fixed = None
    account.arrive(400.0)
    assert account.changes == []


# The automatic size.


def busy(account: Account, began_at: float, seconds: float = 305.0, every_s: float = 2.0) -> None:
    """Let questions time out at a steady rate, by default faster than the budget allows."""
    for number in range(int(seconds / every_s)):
        account.time_out(began_at + every_s * number, f"u{number % 9}")


def test_a_used_up_budget_doubles_every_five_minutes():
    account = Account()
    busy(account, 0.0, 1_000.0)
    assert [change.size for change in account.changes] == [120, 240]
    assert all(change.timeouts == 0 for change in account.changes)


def test_a_sufficient_budget_keeps_its_size():
    account = Account()
    busy(account, 0.0, 2_000.0, every_s=10.0)
    assert account.changes == []


def test_a_fixed_budget_never_changes():
    account = Account(fixed=10)
    busy(account, 0.0, 700.0)
    assert account.changes == []
    assert account.timeouts.size(MAIN) == 10


def test_missing_retries_keep_the_budget_from_growing():
    account = Account()
    for number in range(400):
        account.time_out(2.0 * number, f"u{number % 9}", retried=number % 3 > 0)
    assert account.changes == []


def test_a_suspected_suspension_stops_timeouts_until_a_message_arrives():
    account = Account()
    account.silence(100.0)
    assert not account.timeouts.is_suspected(MAIN, 109.0)
    assert account.timeouts.is_suspected(MAIN, 112.0)
    assert not account.timeouts.spend(User(MAIN, OpenId("f")), DeliveryKey("held"), 112.0)
    account.arrive(115.0)
    assert not account.timeouts.is_suspected(MAIN, 115.0)
    assert account.changes == []


def test_a_minute_of_silence_confirms_a_suspension():
    account = Account()
    busy(account, 0.0, 100.0)
    account.silence(101.0)
    account.arrive(162.0)
    [change] = account.changes
    assert change.timeouts == 51  # up to the first one that WeChat did not retry
    assert change.ceiling == 51
    assert change.size == account.timeouts.size(MAIN) == 43
    assert account.timeouts.suspended_at(MAIN) == 162.0


@pytest.mark.parametrize("back_after_s", [20.0, 44.0, 130.0, 3_600.0])
def test_a_network_outage_leaves_the_budget_unchanged(back_after_s):
    account = Account()
    account.silence(100.0)
    account.arrive(100.4 + back_after_s)
    assert account.changes == []


@pytest.mark.parametrize("responsive_since", [None, 130.0])
def test_a_daemon_outage_does_not_confirm_a_suspension(responsive_since):
    account = Account()
    account.silence(100.0)
    account.responsive_since = responsive_since
    account.arrive(160.0)
    assert account.changes == []


def test_a_message_within_the_minute_rules_out_a_suspension():
    account = Account()
    account.silence(100.0)
    account.arrive(112.0)
    account.arrive(172.0)
    assert account.changes == []


def test_a_learned_size_survives_a_restart_from_a_snapshot():
    account = Account()
    busy(account, 0.0, 100.0)
    account.silence(101.0)
    account.arrive(162.0)
    restored = DeliberateTimeouts(None, lambda: None)
    restored.restore(account.timeouts.snapshot())
    assert restored.size(MAIN) == 43
    assert restored.left(MAIN, 162.0) == account.left(162.0) == 0
    assert restored.suspended_at(MAIN) == 162.0
    restored.fixed = 7
    assert restored.size(MAIN) == 7


# In the service.


def crowd(story: Story, users: int) -> list:
    for number in range(users):
        story.open(f"u{number}")
    return [story.send(f"问{number}", f"u{number}", attempts=1) for number in range(users)]


def status(story: Story) -> dict:
    control = story.service.admin.children[b"status"]._control
    return control.status().deliberate_timeouts["main"]._asdict()


def test_a_suspension_shrinks_the_budget_and_appears_in_status_metrics_and_log():
    story = Story(answer_at(40, "好的。"))
    crowd(story, 8)
    story.advance(12)
    assert status(story) == {
        "budget": INITIAL_SIZE, "auto": True, "left": INITIAL_SIZE - 8, "suspended_at": None,
        "suspected": True,
    }  # fmt: skip
    story.advance(50, 0.5)
    story.say("/help", "late")
    assert status(story)["budget"] == 6
    assert status(story)["suspended_at"] == pytest.approx(story.wall(), abs=1)
    assert not status(story)["suspected"]
    suspensions = story.service.base.metrics.registry.get_sample_value(
        "wxgptd_suspensions_total", {"account": "main"}
    )
    assert suspensions == 1
    story.restart()
    assert status(story)["budget"] == 6
    assert [event for event in story.store.events() if isinstance(event, e.TimeoutBudgetSet)]


def test_no_suspension_is_confirmed_across_a_restart():
    story = Story(answer_at(40, "好的。"))
    crowd(story, 8)
    story.advance(12)
    story.restart()
    story.advance(50, 0.5)
    story.say("/help", "late")
    assert status(story)["budget"] == INITIAL_SIZE


def test_no_suspension_is_confirmed_if_the_reactor_was_blocked():
    story = Story(answer_at(40, "好的。"))
    crowd(story, 8)
    story.advance(20)
    story.advance(20, 20)  # the reactor was blocked
    story.advance(25, 0.5)
    story.say("/help", "late")
    assert status(story)["budget"] == INITIAL_SIZE


def test_no_suspension_is_confirmed_at_the_connection_limit():
    story = Story(answer_at(40, "好的。"))
    crowd(story, 8)
    story.advance(12)
    story.service.base.fullness.note("connections")
    story.advance(50, 0.5)
    story.say("/help", "late")
    assert status(story)["budget"] == INITIAL_SIZE


def test_status_shows_a_fixed_budget():
    window = cfg.Window(deliberate_timeouts_per_5min=3)
    story = Story(answer_at(40, "好的。"), configuration(window=window))
    assert status(story) == {
        "budget": 3, "auto": False, "left": 3, "suspended_at": None, "suspected": False,
    }  # fmt: skip
