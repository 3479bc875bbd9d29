"""What a schema cannot say of a request: which values mean something to this service.

The fuzzer loads it (SCHEMATHESIS_HOOKS). A value that is valid by its schema is put in
the place of one that the service can use: the name of a model it serves, a link to a
server that is there. Values that are not valid stay what they are.
"""

from __future__ import annotations

import itertools
import re
import threading
import uuid
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData

from tests.fuzz.surroundings import KEY_ID, MEDIA_URL, OWNER, SERVICE_KEY, SERVICE_URL
from tests.support.recordings import read_recording, silence, to_wav
from transcription.api.callback_fields import (
    NAME_FORM,
    NAME_LENGTH,
    VALUE_FORM,
    VALUE_LENGTH,
)
from transcription.audio import SAMPLE_RATE
from transcription.engines.languages import language_code
from transcription.engines.plan import DEMO
from whisperhub.api.fields import URL_SCHEMA
from whisperhub.network.client_headers import may_be_chosen

# Tasks that may be under way before the oldest of them is cancelled: the fuzzer makes
# them far faster than two cores can hear them.
MOST_TASKS: Final = 8
TASKS: Final = "/api/v1/tasks/"
DEFAULT_ORDERING: Final = "-created_at"
URL_FORM: Final = re.compile(URL_SCHEMA["pattern"])
MOMENT_FORM: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ].+")

# --- Files ---------------------------------------------------------------------------

SPEECH: Final = read_recording("en")
FILES: Final = (
    to_wav(SPEECH[: 2 * SAMPLE_RATE]),
    to_wav(silence(0.5)),
    # Cut off in the middle of a sample.
    to_wav(SPEECH[:SAMPLE_RATE])[:-1],
    b"RIFF\x00\x00\x00\x00WAVE",
)
schemathesis.openapi.format(
    "binary", st.one_of(st.sampled_from(FILES), st.binary(min_size=1, max_size=200))
)

# --- Values --------------------------------------------------------------------------

_links = itertools.cycle([f"{MEDIA_URL}/speech.wav", f"{MEDIA_URL}/gone.wav"])
# Cursors, each with the ordering of the list that it continues.
_cursors: deque[tuple[str, str]] = deque(maxlen=50)


def mend_query(query: dict[str, Any]) -> None:
    """Name an owner who is there, and continue a list that there was."""
    if is_text(query.get("owner"), 150):
        query["owner"] = OWNER
    if is_text(query.get("cursor"), 200):
        del query["cursor"]
        if _cursors and "offset" not in query:
            query["cursor"], query["ordering"] = _cursors[-1]


def mend_body(body: dict[str, Any], *, makes_task: bool) -> None:
    """Fill a body with what exists; headers of a task go to an address only."""
    if is_text(body.get("owner"), 150):
        body["owner"] = OWNER
    if is_text(body.get("model"), 100):
        body["model"] = DEMO
    if is_link(body.get("file_url")):
        body["file_url"] = next(_links)
    if is_link(body.get("callback_url")):
        body["callback_url"] = f"{MEDIA_URL}/callback"
    if isinstance(body.get("callback_headers"), dict):
        headers = body["callback_headers"]
        for name, value in list(headers.items()):
            if is_header_value(value) and not is_header_name(name):
                del headers[name]
        if headers and makes_task:
            body.setdefault("callback_url", f"{MEDIA_URL}/callback")
    times = body.get("clip_timestamps")
    if is_list_of_times(times):
        # Each half a second long at least.
        body["clip_timestamps"] = sorted({round(time) for time in times})
    elif isinstance(times, str) and re.fullmatch(r"[\d., ]+", times):
        body["clip_timestamps"] = "0,1"
    if language_code(str(body.get("language"))) == "yue":
        # The demo model does not know it.
        body["language"] = "auto"
    if body.get("multilingual"):
        body.pop("language", None)
    if is_number(body.get("best_of")):
        # Ten temperatures, and no more hypotheses than are allowed.
        body["best_of"] = min(body["best_of"], 4)
    vad = body.get("vad_parameters")
    if isinstance(vad, dict) and is_number(vad.get("max_speech_duration_s")):
        # Room for speech between the pads.
        vad["max_speech_duration_s"] = max(vad["max_speech_duration_s"], 21)
    if MOMENT_FORM.match(str(body.get("expires_at"))):
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def is_text(value: Any, most: int) -> bool:
    """Whether it is a text that its schema allows."""
    return isinstance(value, str) and 0 < len(value) <= most and "\x00" not in value


def is_id(value: Any) -> bool:
    """Whether it is the id of something, be it there or not."""
    try:
        return str(uuid.UUID(str(value))) == str(value)
    except ValueError:
        return False


def is_number(value: Any) -> bool:
    """Whether it is one; to Python true is one too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_link(value: Any) -> bool:
    """Whether it is an address that its schema allows."""
    return is_text(value, URL_SCHEMA["maxLength"]) and bool(URL_FORM.fullmatch(value))


def is_list_of_times(value: Any) -> TypeGuard[list[float]]:
    """Whether it is one that only lacks its order, if anything."""
    return isinstance(value, list) and all(
        is_number(time) and 0 <= time <= 86_400 for time in value
    )


def is_header_value(value: Any) -> bool:
    """Whether a header may have this value."""
    return is_text(value, VALUE_LENGTH) and bool(VALUE_FORM.fullmatch(value))


def is_header_name(name: str) -> bool:
    """Whether a client may choose this header."""
    return (
        bool(NAME_FORM.fullmatch(name))
        and len(name) <= NAME_LENGTH
        and may_be_chosen(name)
    )


# --- Requests that were answered -----------------------------------------------------

# By the first part of the address below /api/v1/: ids that are there, all ever seen.
_alive: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=50))
_seen: set[str] = {KEY_ID}
_turns = itertools.count()
_under_way: deque[str] = deque()
_lock = threading.Lock()
_session = requests.Session()
_session.trust_env = False
_session.headers["Authorization"] = f"Bearer {SERVICE_KEY}"


def collection_of(case: Any) -> str:
    """Tasks, keys, callbacks."""
    return str(case.path.split("/")[3])


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give a request meaning, and keep it away from the fuzzer's own key."""
    # What it was made as, it stays: a valid request remains one, and so does another.
    _ = case.meta
    named = case.path_parameters.get("public_id")
    if named == KEY_ID:
        # Without it every further answer would be 401.
        case.path_parameters["public_id"] = str(uuid.uuid4())
    elif is_id(named) and named not in _seen and next(_turns) % 2:
        # Half of the ids out of nowhere lead somewhere.
        with _lock:
            alive = _alive[collection_of(case)]
            if alive:
                alive.rotate()
                case.path_parameters["public_id"] = alive[0]
    if isinstance(case.query, dict):
        mend_query(case.query)
    if isinstance(case.body, dict):
        mend_body(case.body, makes_task=case.path == TASKS)
    # Else schemathesis judges the case anew, and takes a file in it for a fault.
    case._sync_validated_hashes()


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember what there is, and cancel what the workers cannot keep up with."""
    if response.status_code == 204:
        forget(collection_of(case), str(case.path_parameters["public_id"]))
    if response.status_code not in {200, 201, 202}:
        return
    try:
        told = response.json()
    except ValueError:
        return  # Subtitles.
    if not isinstance(told, dict):
        return
    if case.path == TASKS and told.get("next_cursor"):
        ordering = (case.query or {}).get("ordering", DEFAULT_ORDERING)
        _cursors.append((told["next_cursor"], ordering))
    if "id" in told and "{" not in case.path:
        remember(collection_of(case), told["id"])
    for row in told.get("results", []):
        if "id" in row:
            remember(collection_of(case), row["id"])
    if case.path == TASKS and response.status_code == 201:
        relieve(told["id"])


def remember(collection: str, found: str) -> None:
    """Know an id from now on."""
    with _lock:
        if found not in _seen:
            _seen.add(found)
            _alive[collection].append(found)


def forget(collection: str, gone: str) -> None:
    """Use an id no more."""
    with _lock:
        if gone in _alive[collection]:
            _alive[collection].remove(gone)


def relieve(task_id: str) -> None:
    """Cancel the oldest task if this one makes them too many."""
    with _lock:
        _under_way.append(task_id)
        late = _under_way.popleft() if len(_under_way) > MOST_TASKS else None
    if late is not None:
        _session.post(f"{SERVICE_URL}/api/v1/tasks/{late}/cancel/", timeout=30)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drop what is no fault of the service; every line here has its reason.

    A header that nobody knows is passed over: proxies add some, and HTTP wants it so.
    A field of a form that is empty was left alone: browsers send each one they show.
    """
    if not isinstance(failure, AcceptedNegativeData):
        return True
    if "in header - object with unexpected properties" in failure.message:
        return False
    return not (
        case.media_type == "multipart/form-data"
        and isinstance(case.body, dict)
        and "" in case.body.values()
    )
