"""The tree of errors: what is written in its docstring is what it is."""

from __future__ import annotations

import inspect
import re
from http import HTTPStatus

import pytest

from transcription import errors
from transcription.errors import MediaError, WhisperHubError

# Clients rely on these: a change breaks them.
CODES = {
    "WhisperHubError": ("internal_error", 500, False),
    "MediaError": ("invalid_media", 422, False),
    "InvalidMediaError": ("invalid_media", 422, False),
    "NoAudioError": ("no_audio", 422, False),
    "WebPageError": ("html_file", 422, False),
    "IncompleteMediaError": ("media_incomplete", 422, False),
    "FetchInterruptedError": ("interrupted", 502, True),
    "LinkIsPageError": ("web_page", 422, False),
    "TypeNotAllowedError": ("type_not_allowed", 415, False),
    "NoSuchTrackError": ("no_such_track", 422, False),
    "MediaTooLongError": ("media_too_long", 422, False),
    "DecodingTooExpensiveError": ("decoding_too_expensive", 422, False),
    "NoRoomError": ("no_room", 507, True),
    "DecoderLostError": ("decoder_lost", 500, False),
    "FetchError": ("network", 502, True),
    "FetchTimeoutError": ("timeout", 504, True),
    "FetchTlsError": ("tls_failed", 502, True),
    "RateLimitedError": ("rate_limited", 502, True),
    "UpstreamError": ("upstream_error", 502, True),
    "LinkBlockedError": ("blocked_address", 422, False),
    "LinkNotFoundError": ("not_found", 422, False),
    "LinkForbiddenError": ("forbidden", 422, False),
    "LinkTooLargeError": ("too_large", 422, False),
    "BadRedirectError": ("bad_redirect", 422, False),
    "BadAnswerError": ("bad_answer", 422, False),
    "SubmissionError": ("invalid", 400, False),
    "EmptyUploadError": ("empty_file", 400, False),
    "UploadTooLargeError": ("file_too_large", 413, False),
    "StorageFullError": ("storage_full", 507, False),
    "UnknownModelError": ("unknown_model", 400, False),
    "InvalidKeyError": ("invalid_idempotency_key", 400, False),
    "KeyReusedError": ("idempotency_key_reused", 409, False),
    "KeySpentError": ("idempotent_task_deleted", 410, False),
    "PriorityNotAllowedError": ("priority_not_allowed", 403, False),
    "QuotaError": ("quota_exceeded", 429, False),
    "AudioQuotaError": ("audio_quota_exceeded", 429, False),
    "QueueQuotaError": ("queue_quota_exceeded", 429, False),
    "TooManyWaitingError": ("too_many_waiting", 429, False),
    "UnsupportedOptionError": ("unsupported_option", 400, False),
    "UnsupportedLanguageError": ("unsupported_language", 400, False),
    "UnsupportedTaskError": ("unsupported_task", 400, False),
    "CallbackError": ("callback_error", 409, False),
    "DeliveryUnderWayError": ("delivery_under_way", 409, False),
    "TooManyTestsError": ("too_many_tests", 429, False),
    "TooManySecretsError": ("too_many_secrets", 409, False),
    "TaskStateError": ("conflict", 409, False),
    "AlreadyEndedError": ("already_ended", 409, False),
    "NotWaitingError": ("not_waiting", 409, False),
    "NotRetryableError": ("not_retryable", 409, False),
    "MediaGoneError": ("media_gone", 409, False),
    "EngineError": ("engine_error", 500, True),
    "ModelUnavailableError": ("model_unavailable", 500, False),
    "TaskCancelledError": ("cancelled", 409, False),
    "LeaseLostError": ("lease_lost", 500, False),
}
CLASSES = {
    name: item
    for name, item in vars(errors).items()
    if inspect.isclass(item) and issubclass(item, WhisperHubError)
}


def drawn_parents() -> dict[str, str]:
    """Each class of the drawn tree with the class it hangs from."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            if depth:
                parents[found[2]] = path[depth - 1]
    return parents


def test_the_drawn_tree_is_the_real_one():
    real = {
        name: item.__mro__[1].__name__
        for name, item in CLASSES.items()
        if item is not WhisperHubError
    }

    assert drawn_parents() == real


def test_codes_statuses_and_retries_are_stable():
    assert {
        name: (item.code, item.http_status, item.retryable)
        for name, item in CLASSES.items()
    } == CODES


def test_no_two_classes_share_a_code():
    # A MediaError is only ever raised as one of its kinds.
    codes = [item.code for item in CLASSES.values() if item is not MediaError]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("item", CLASSES.values(), ids=CLASSES)
def test_every_status_exists_and_every_code_is_plain(item):
    assert HTTPStatus(item.http_status)
    assert re.fullmatch(r"[a-z_]{1,50}", item.code)


def test_the_message_is_the_sentence_it_was_raised_with():
    assert MediaError("The file is broken.").message == "The file is broken."
    assert MediaError().message == "MediaError"
