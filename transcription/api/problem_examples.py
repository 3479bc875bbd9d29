"""Examples of problem documents: which codes a response may carry, and what it says.

The codes are those that the response's description names; the sentences are those of
the errors themselves, so that both are translated once.
"""

from __future__ import annotations

import re
from typing import Any, Final

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from transcription.errors import (
    UnsupportedLanguageError,
    UnsupportedOptionError,
    UnsupportedTaskError,
)
from whisperhub.sentences import Sentence, translated
from whisperhub.web.problems import status_title

REQUEST_ID: Final = "9b2f0c6a4d6e4f0f8f5f3f1d0a7c5e21"
CODE: Final = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
SENTENCES: Final[dict[str, str]] = {
    "not_authenticated": _("Authentication credentials were not provided."),
    "invalid_api_key": _("This API key is unknown."),
    "api_key_expired": _("This API key has expired. Use another one."),
    "api_key_revoked": _("This API key was revoked. Use another one."),
    "account_closed": _("The account of this API key is closed."),
    "staff_only": _("Only staff may do this."),
    "permission_required": _(
        "Limits of keys, and what belongs to other accounts, need the permission "
        "%(permission)s. Ask an administrator for it."
    ),
    "owner_has_more_rights": _(
        "The account %(owner)s has rights that yours lacks. Only an account with all "
        "of them, such as a superuser's, may do this."
    ),
    "scope_not_held": _(
        "Your key lacks the scope %(scopes)s, so it cannot make a key that has it. "
        "Leave the scope out, or use a key that has it."
    ),
    "priority_not_allowed": _("The highest priority that you may use is %(highest)s."),
    "rate_limit_exceeded": _(
        "Too many requests. Wait as many seconds as Retry-After says, then go on."
    ),
    "audio_quota_exceeded": _(
        "You have used your %(count)d seconds of audio of this day. Go on after "
        "midnight UTC."
    ),
    "queue_quota_exceeded": _(
        "You may have %(count)d unfinished tasks. Wait until some have ended."
    ),
    "too_many_waiting": Sentence(
        "{count} requests of this key wait for their answers, and no more may. Wait "
        "until some are answered, or submit a task and ask for its result.",
        count=200,
    ),
    "not_found": _("Not found."),
    "invalid": _("The request has invalid fields."),
    "invalid_idempotency_key": Sentence(
        "An Idempotency-Key has 1 to 255 printable ASCII characters."
    ),
    "idempotency_key_reused": Sentence(
        "Another request came with this Idempotency-Key. Use a new key for a new "
        "request."
    ),
    "idempotent_task_deleted": Sentence(
        "The task of this request was deleted. Use a new Idempotency-Key to submit it "
        "again."
    ),
    "file_too_large": Sentence(
        "The file is larger than the {size} this server takes.", size="2 GiB"
    ),
    "bad_request": _("The server does not take this request."),
    "request_too_large": _(
        "The request is too long. Only a file in a form may be large."
    ),
    "request_timeout": Sentence(
        "The upload stalled: no data arrived for {seconds} seconds. Send it again.",
        seconds="30",
    ),
    "unsupported_media_type": Sentence(
        'Unsupported media type "{media_type}" in request.',
        media_type="application/xml",
    ),
    "type_not_allowed": Sentence(
        "This server does not accept files of the type .{extension}. It accepts: "
        "{allowed}. Convert the file, or ask the operator to allow the type.",
        extension="wav",
        allowed="mp3, m4a",
    ),
    "not_acceptable": _("Could not satisfy the request Accept header."),
    "database_away": _("The database does not answer. Try again in a moment."),
    "server_busy": Sentence(
        "The server is receiving too many large requests. Send this one again in "
        "{seconds} seconds.",
        seconds=5,
    ),
    "storage_full": _("The server has no room for this upload. Try again later."),
    "unsupported_option": UnsupportedOptionError(
        "openai-whisper", ["hotwords"]
    ).message,
    "unsupported_language": UnsupportedLanguageError("base", "yue").message,
    "unsupported_task": UnsupportedTaskError("base.en").message,
    "not_waiting": _("The task no longer waits."),
    "already_ended": _("The task has ended already."),
    "not_retryable": _("Only a task that failed or was cancelled can start again."),
    "media_gone": _("The media of this task is no longer here. Submit it again."),
    "invalid_media": Sentence("The file is not audio or video that can be read."),
    "delivery_under_way": Sentence("It is being sent now. Try again in a moment."),
    "too_many_tests": Sentence("Wait until your other test events have ended."),
    "too_many_secrets": Sentence(
        "{count} secrets are valid still. Wait until the oldest expires.", count=5
    ),
    "key_not_rotatable": _(
        "This key is revoked, expired or replaced. Make a new one instead."
    ),
}
# For those sentences that keep no values.
VALUES: Final[dict[str, dict[str, Any]]] = {
    "permission_required": {"permission": "accounts.view_apikey"},
    "owner_has_more_rights": {"owner": "ann"},
    "scope_not_held": {"scopes": "read"},
    "priority_not_allowed": {"highest": "normal"},
    "audio_quota_exceeded": {"count": 36_000},
    "queue_quota_exceeded": {"count": 100},
}
# For a response whose description names no code.
USUAL: Final = {
    "400": "invalid",
    "401": "not_authenticated",
    "403": "insufficient_scope",
    "404": "not_found",
    "406": "not_acceptable",
    "408": "request_timeout",
    "409": "invalid_media",
    "413": "file_too_large",
    "415": "unsupported_media_type",
    "507": "storage_full",
}


def problem_examples(
    status: str, description: str, operation: dict[str, Any]
) -> dict[str, Any]:
    """Examples of a response, by code, in the current language.

    Args:
        status: of HTTP, as the document has it.
        description: of the response, in English.
        operation: of the document, in English.
    """
    codes = CODE.findall(description)
    if status == "400" or not codes:
        codes = [USUAL.get(status, "error"), *codes]
    return {
        code: {
            "value": _problem(int(status), code, description, operation),
        }
        for code in codes
    }


def _problem(
    status: int, code: str, description: str, operation: dict[str, Any]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status_title(status),
        "status": status,
        "code": code,
        "detail": _detail(code, description, operation),
        "request_id": REQUEST_ID,
    }
    if code == "invalid":
        body["errors"] = _field_errors(operation)
    return body


def _detail(code: str, description: str, operation: dict[str, Any]) -> str:
    if code == "insufficient_scope":
        needed = gettext("This needs a key with the scope %(scope)s.")
        return needed % {"scope": operation.get("x-required-scope", "read")}
    said = translated(SENTENCES.get(code, description))
    return said % VALUES[code] if code in VALUES else said


def _field_errors(operation: dict[str, Any]) -> dict[str, Any]:
    """An error that this operation may find."""
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "limit" in names:
        message = gettext("This must be a whole number from %(least)d to %(most)d.")
        said = message % {"least": 1, "most": 100}
        return {"limit": [{"code": "invalid", "message": said}]}
    if "output_format" in names:
        choice = gettext('"{input}" is not one of: {allowed}.')
        said = choice.format(input="doc", allowed="srt, vtt")
        return {"output_format": [{"code": "invalid_choice", "message": said}]}
    said = gettext("There is no such field.")
    return {"prioritty": [{"code": "unknown_field", "message": said}]}
