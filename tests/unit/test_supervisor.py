"""What of the supervisor needs no process."""

from __future__ import annotations

import pytest

from workers.supervisor import LineFilter, describe_exit


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-02 03:04:05,678 WARNING transcription [12] [-] Slow",
        "[2026-01-02 03:04:05,678: ERROR/MainProcess] consumer: Cannot connect",
        "ERROR:    [Errno 98] address already in use",
        "[W 260102 03:04:05 inspector:42] Inspect method failed",
        "Traceback (most recent call last):",
    ],
)
def test_warnings_and_errors_are_shown(line):
    assert LineFilter(verbose=False).shows(line)


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-02 03:04:05,678 INFO transcription [12] [-] An ERROR was mended",
        "[2026-01-02 03:04:05,678: INFO/MainProcess] ready.",
        "INFO:     Started server process [7]",
        "[I 260102 03:04:05 command:168] Visit me at http://127.0.0.1:5555",
        " -------------- media@host v5.7.0",
    ],
)
def test_ordinary_lines_are_shown_only_when_asked_for(line):
    assert not LineFilter(verbose=False).shows(line)
    assert LineFilter(verbose=True).shows(line)


def test_the_rest_of_a_traceback_goes_with_its_first_line():
    lines = LineFilter(verbose=False)

    shown = [
        lines.shows("2026-01-02 03:04:05 ERROR web [1] [-] Failed"),
        lines.shows('  File "web.py", line 1'),
        lines.shows("ValueError: no"),
        lines.shows("2026-01-02 03:04:06 INFO web [1] [-] Going on"),
        lines.shows("with a second line"),
    ]

    assert shown == [True, True, True, False, False]


def test_an_exit_is_described_by_status_or_signal():
    assert describe_exit(3) == "exit status 3"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-64) in {"killed by SIGRTMAX", "killed by signal 64"}
