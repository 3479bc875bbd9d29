"""Fills the database with tasks as a service of many users has them after a year.

For figures and for tests of query plans: rows only, without media and transcripts. The
same seed gives the same rows. One owner has by far the most, as happens.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import accumulate, islice
from typing import Any, Final

from django.db import connection, models, transaction
from django.utils import timezone

from accounts.models import User
from transcription.engines.spec import DEFAULT_ENGINE
from transcription.models import TranscriptionTask

Status = TranscriptionTask.Status
Priority = TranscriptionTask.Priority
TaskType = TranscriptionTask.TaskType

SPAN: Final = timedelta(days=365)
# The newest of all tasks still wait or run.
UNFINISHED_SHARE: Final = 0.015
CHUNK_ROWS: Final = 5000
# Value to weight.
MODELS: Final = {"large-v3": 60, "small": 25, "turbo": 10, "base": 5}
ENGINES: Final = {"base": "openai-whisper"}
PRIORITIES: Final = {Priority.NORMAL: 80, Priority.LOW: 15, Priority.HIGH: 5}
TASK_TYPES: Final = {
    TaskType.TRANSCRIBE: 85,
    TaskType.TRANSLATE: 13,
    TaskType.DETECT_LANGUAGE: 2,
}
LANGUAGES: Final = {"en": 50, "zh": 25, "es": 10, "de": 7, "fr": 5, "ja": 3}
PLATFORMS: Final = {"": 40, "tiktok": 30, "douyin": 20, "podcast": 10}
ENDED: Final = {Status.COMPLETED: 94, Status.FAILED: 4, Status.CANCELLED: 2}
UNFINISHED: Final = {Status.QUEUED: 85, Status.PREPARING: 10, Status.PROCESSING: 5}


def fill(
    count: int,
    *,
    owners: int = 300,
    seed: int = 1,
    unfinished_share: float = UNFINISHED_SHARE,
) -> list[User]:
    """Insert tasks, oldest first, and whose they are.

    Returns:
        The owners, who has the most tasks first.
    """
    chosen = random.Random(seed)
    users = _owners(owners)
    first_unfinished = int(count * (1 - unfinished_share))
    rows = _rows(count, [user.pk for user in users], chosen, first_unfinished)
    with transaction.atomic():
        _insert(rows)
    return users


def analyse() -> None:
    """Have the database look at what it holds; servers do so by themselves in time."""
    statement = {
        "postgresql": "ANALYZE {}"
        if connection.in_atomic_block
        else "VACUUM ANALYZE {}",
        "mysql": "ANALYZE TABLE {}",
    }.get(connection.vendor)
    # On SQLite nobody does: its plans must be good without.
    if statement is not None:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(TranscriptionTask._meta.db_table))


def _owners(count: int) -> list[User]:
    return [
        User.objects.get_or_create(username=f"owner-{number:03}")[0]
        for number in range(1, count + 1)
    ]


def _endless(weights: Mapping[Any, float], chosen: random.Random) -> Iterator[Any]:
    """Values by their weights, for ever; many at a time, which is faster."""
    # Plain texts: a driver may take an enumeration's name for it.
    values = [getattr(value, "value", value) for value in weights]
    sums = list(accumulate(weights.values()))
    while True:
        yield from chosen.choices(values, cum_weights=sums, k=CHUNK_ROWS)


def _rows(
    count: int, owner_ids: list[int], chosen: random.Random, first_unfinished: int
) -> Iterator[dict[str, Any]]:
    """What differs from row to row, by column."""
    # The owner of rank n has a share in proportion to 1/n.
    shares = {owner_id: 1 / rank for rank, owner_id in enumerate(owner_ids, 1)}
    owner, model = _endless(shares, chosen), _endless(MODELS, chosen)
    priority, task_type = _endless(PRIORITIES, chosen), _endless(TASK_TYPES, chosen)
    language, platform = _endless(LANGUAGES, chosen), _endless(PLATFORMS, chosen)
    ended, unfinished = _endless(ENDED, chosen), _endless(UNFINISHED, chosen)
    moment, step = timezone.now() - SPAN, SPAN / count
    turns: Counter[Any] = Counter()
    for number in range(count):
        moment += step
        row = {
            "public_id": uuid.UUID(int=chosen.getrandbits(128), version=4),
            "owner_id": next(owner),
            "priority": (asked := next(priority)),
            "effective_priority": asked,
            "task_type": next(task_type),
            "model": (name := next(model)),
            "engine": ENGINES.get(name, DEFAULT_ENGINE),
            "platform": next(platform),
            "created_at": moment,
            "file_size_bytes": 1_000_000,
            "media_sha256": f"{chosen.getrandbits(256):064x}",
        }
        if number >= first_unfinished:
            status, lane = next(unfinished), (row["owner_id"], name, asked)
            turns[status, lane] += 1
            row |= _waiting(status, moment) | {"turn": turns[status, lane]}
        else:
            row |= _ended(next(ended), moment, next(language), chosen)
        yield row


def _waiting(status: str, moment: datetime) -> dict[str, Any]:
    if status == Status.PREPARING:
        return {"status": status}
    queued_at = moment + timedelta(seconds=2)
    return {
        "status": status,
        "queued_at": queued_at,
        "dispatched_at": queued_at,
        "media_duration_seconds": 60.0,
        "started_at": queued_at if status == Status.PROCESSING else None,
    }


def _ended(
    status: str, moment: datetime, language: str, chosen: random.Random
) -> dict[str, Any]:
    seconds = chosen.uniform(5, 120)
    row = {"status": status, "finished_at": moment + timedelta(seconds=seconds)}
    if status == Status.FAILED:
        return {**row, "error_code": "no_audio", "error_message": "No audio."}
    if status == Status.CANCELLED:
        return row
    return {
        **row,
        "queued_at": moment + timedelta(seconds=1),
        "started_at": moment + timedelta(seconds=2),
        "progress": 1.0,
        "attempts": 1,
        "media_duration_seconds": seconds * 10,
        "inference_seconds": seconds - 2,
        "detected_language": language,
    }


def _insert(rows: Iterable[dict[str, Any]]) -> None:
    defaults, adapted, values = _defaults(), _adapted(), iter(rows)
    table = connection.ops.quote_name(TranscriptionTask._meta.db_table)
    names = ", ".join(connection.ops.quote_name(name) for name in defaults)
    while chunk := list(islice(values, CHUNK_ROWS)):
        for row in chunk:
            for name, adapt in adapted.items():
                if row.get(name) is not None:
                    row[name] = adapt(row[name])
        prepared = [list({**defaults, **row}.values()) for row in chunk]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for one in prepared:
                        copy.write_row(one)
            else:
                marks = ", ".join(["%s"] * len(defaults))
                cursor.executemany(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
                    prepared,
                )


def _defaults() -> dict[str, Any]:
    """What a new task has in each column, as the database takes it."""
    plain = TranscriptionTask()
    return {
        str(field.column): field.get_db_prep_save(
            getattr(plain, field.attname), connection
        )
        for field in _columns()
    }


def _adapted() -> dict[str, Callable[[Any], Any]]:
    """How the database takes what is neither text nor number, by column."""
    moments = connection.ops.adapt_datetimefield_value
    if connection.vendor == "sqlite":
        # What Django does, without asking for each row in which zone it is.
        return {
            **dict.fromkeys(_names(models.DateTimeField), _as_text),
            "public_id": lambda public_id: public_id.hex,
        }
    return dict.fromkeys(_names(models.DateTimeField), moments)


def _as_text(moment: datetime) -> str:
    return str(moment.replace(tzinfo=None))


def _names(kind: type[models.Field[Any, Any]]) -> list[str]:
    return [str(field.column) for field in _columns() if isinstance(field, kind)]


def _columns() -> list[models.Field[Any, Any]]:
    return [
        field
        for field in TranscriptionTask._meta.concrete_fields
        if not field.primary_key and not field.generated
    ]
