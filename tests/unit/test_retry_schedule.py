"""How long a callback waits for its next attempt."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils.http import http_date

from transcription.services.retry_schedule import (
    LONGEST_RETRY_AFTER_SECONDS,
    delay_after,
    retry_after_seconds,
)


def seconds_after(failures: int, **keywords: float) -> float:
    delay = delay_after(failures, **keywords)
    assert delay is not None
    return delay.total_seconds()


def test_the_schedule_is_that_of_standard_webhooks():
    for failures, expected in enumerate(
        [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400], start=1
    ):
        assert expected * 0.8 <= seconds_after(failures) <= expected * 1.2
    assert delay_after(10) is None


def test_what_failed_together_comes_apart():
    assert len({delay_after(4) for _ in range(10)}) > 1


def test_the_schedule_is_a_setting(settings):
    settings.CALLBACK_DELAYS = [0.0, 2.0]

    assert delay_after(1) == timedelta(0)
    assert 1.6 <= seconds_after(2) <= 2.4
    assert delay_after(3) is None


def test_a_receiver_is_left_alone_for_as_long_as_it_asks():
    assert seconds_after(1, at_least_seconds=600) == 600


def test_a_receiver_cannot_have_the_attempts_used_up_at_once():
    assert seconds_after(3, at_least_seconds=1) >= 1800 * 0.8


def test_the_last_attempt_stays_the_last():
    assert delay_after(10, at_least_seconds=60) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("120", 120),
        ("9" * 40, LONGEST_RETRY_AFTER_SECONDS),
        ("-5", 0),
        ("1.5", 0),
        ("²", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_is_read_within_bounds(header, seconds):
    assert retry_after_seconds(header) == seconds


def test_retry_after_may_be_a_date():
    assert 95 < retry_after_seconds(http_date(time.time() + 100)) <= 100
