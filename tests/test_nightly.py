"""The nightly run reports the result of each target, even if interrupted."""

from __future__ import annotations

from tests import nightly

CLOSING = "=========== 3 passed, 1 skipped in 12.34s (0:00:12) ===========\n"


def test_the_closing_line_of_pytest_is_found():
    assert nightly.summary(f"...\n{CLOSING}\n") == "3 passed, 1 skipped"


def test_the_last_line_is_shown_if_no_tests_ran():
    assert nightly.summary("measured\n\nmake: *** [bench] Error 1\n") == "make: *** [bench] Error 1"


def test_one_failure_fails_the_run_but_does_not_stop_it(monkeypatch, tmp_path, capsys):
    def run(target):
        return nightly.Run(target, int(target == "siege"), 1.25, "3 passed")

    monkeypatch.setattr(nightly, "LOGS", tmp_path)
    monkeypatch.setattr(nightly, "run", run)
    assert nightly.main(["siege", "bench"]) == 1
    table = capsys.readouterr().out.splitlines()[-2:]
    assert table == [
        "siege        failed       1.2  3 passed",
        "bench        passed       1.2  3 passed",
    ]


def test_an_interrupted_run_still_prints_its_table(monkeypatch, tmp_path, capsys):
    def run(target):
        if target == "bench":
            raise KeyboardInterrupt
        return nightly.Run(target, 0, 2.0, "3 passed")

    monkeypatch.setattr(nightly, "LOGS", tmp_path)
    monkeypatch.setattr(nightly, "run", run)
    assert nightly.main(["siege", "bench"]) == 1
    output = capsys.readouterr().out
    assert "not run to the end: bench" in output
    assert "siege        passed       2.0  3 passed" in output
