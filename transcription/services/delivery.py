"""A callback's event goes to its receiver (the process of the queue `callbacks`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from standardwebhooks import Webhook

from transcription.database import despite_outages
from transcription.documents.events import event_body
from transcription.errors import LeaseLostError
from transcription.models import Callback
from transcription.services import callback_secrets, callbacks
from transcription.services.callbacks import Claim, Reply, State
from transcription.services.retry_schedule import retry_after_seconds
from transcription.work.heartbeat import HeldLease, heartbeat
from whisperhub.network.client_headers import may_be_chosen
from whisperhub.network.posting import PostError, post
from whisperhub.web.request_id import current_request_id

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What one attempt sends."""

    callback: Callback
    body: bytes
    secrets: list[str]


def deliver(callback_id: int, *, owner: str) -> State | None:
    """Make one attempt to deliver a callback that is due.

    Args:
        callback_id: the row.
        owner: who this process is.

    Returns:
        Where the callback stands now; None if there was nothing to claim, or it was
        claimed and then lost or deleted.
    """
    claim = callbacks.claim(callback_id, owner=owner)
    if claim is None:
        return None
    with heartbeat.hold(claim.lease) as held:
        try:
            return _deliver_claimed(claim, held)
        except LeaseLostError:
            logger.warning("Callback %d: lease lost before it was sent", callback_id)
            return None


def _deliver_claimed(claim: Claim, held: HeldLease) -> State | None:
    event = _read(claim.lease.row_id)
    if event is None:
        return None
    # Its task may have started again meanwhile; then the event is no longer true.
    held.check_lost()
    reply = send(event.callback, event.body, event.secrets)
    state = callbacks.settle(claim, reply)
    logger.info(
        "Callback %s: attempt %d, %s in %.2f s, %s",
        event.callback.public_id,
        claim.number,
        reply.http_status or reply.error_code,
        reply.duration_seconds,
        state.value if state else "its lease lost meanwhile",
    )
    return state


@despite_outages
def _read(callback_id: int) -> Event | None:
    """What is to be sent now; None: it was deleted a moment ago."""
    rows = Callback.objects.select_related("task")
    callback = rows.filter(pk=callback_id).first()
    if callback is None:
        return None
    current_request_id.set(callback.request_id)
    body = event_body(callback)
    secrets = callback_secrets.secrets_of(callback.owner_id)
    return Event(callback, body, [row.secret for row in secrets])


def send(callback: Callback, body: bytes, secrets: Iterable[str]) -> Reply:
    """Send an event once, signed with each of the secrets, and tell what came of it."""
    began = time.monotonic()
    try:
        answer = post(
            callback.url,
            body,
            headers=headers_of(callback, body, secrets),
            seconds=settings.CALLBACK_SECONDS,
        )
    except PostError as error:
        return Reply(time.monotonic() - began, error_code=error.code)
    return Reply(
        time.monotonic() - began,
        http_status=answer.status,
        retry_after_seconds=retry_after_seconds(answer.retry_after),
    )


def headers_of(
    callback: Callback, body: bytes, secrets: Iterable[str]
) -> dict[str, str]:
    """The headers of Standard Webhooks, and those that the client wants.

    A client may have chosen a name before it was refused; it is left out.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    event_id = str(callback.public_id)
    # Of this attempt; the event has its own moment. In UTC: the library takes any
    # moment for one.
    moment = datetime.now(UTC)
    signatures = [
        Webhook(secret).sign(event_id, moment, body.decode()) for secret in secrets
    ]
    return {
        **{
            name: value
            for name, value in callback.headers.items()
            if may_be_chosen(name)
        },
        "Content-Type": "application/json",
        "User-Agent": "WhisperHub",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
