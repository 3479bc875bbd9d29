"""Where the broker is: a configured one, or our own on a UNIX socket.

Pure: nothing is started or written here, so that settings, celeryconfig and every
command may ask. workers/broker.py starts the server.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

SOCKET_SCHEME: Final = "redis+socket"

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
MAX_SOCKET_PATH_BYTES: Final = 100

# Flower 2.2 takes the path out of the URL as it stands, kombu 5.7 decodes it first:
# only a path that needs no quoting means the same to both.
PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9._~/-]+")


def socket_path(broker_dir: Path) -> Path:
    """The socket of the broker whose data lie in `broker_dir`.

    It lies in that folder if a socket's short address can hold it, else in a folder of
    this user under /tmp. Not under $TMPDIR: two shells of one user may have two.
    """
    path = broker_dir / "broker.sock"
    text = str(path)
    if len(os.fsencode(text)) <= MAX_SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(text):
        return path
    name = hashlib.sha256(os.fsencode(broker_dir)).hexdigest()[:16]
    return Path("/tmp") / f"whisperhub-{os.getuid()}" / f"{name}.sock"  # noqa: S108


def local_url(broker_dir: Path) -> str:
    """The URL under which Celery, kombu and Flower reach our own broker."""
    return f"{SOCKET_SCHEME}://{socket_path(broker_dir)}?virtual_host=0"


def broker_url() -> str:
    """The URL for Celery: WHISPERHUB_BROKER_URL, else our own broker's."""
    from django.conf import settings

    return str(settings.BROKER_URL) or local_url(settings.BROKER_DIR)


def redis_url() -> str:
    """The same broker for redis-py, which spells a UNIX socket differently."""
    return to_redis_url(broker_url())


def to_redis_url(url: str) -> str:
    """Turn kombu's redis+socket:// into redis-py's unix://; others stay as they are."""
    parts = urlsplit(url)
    if parts.scheme != SOCKET_SCHEME:
        return url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    credentials, at, _ = parts.netloc.rpartition("@")
    return f"unix://{credentials}{at}{parts.path}?db={database}"
