"""What `manage.py check` says of settings that are allowed and unsafe."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from django.core import checks
from django.core.checks import Tags

from whisperhub.databases import settings_from_url
from whisperhub.network.egress import parse_allowed
from whisperhub.network.proxies import parse_proxies

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
LAN = {"HOST": "192.168.7.9"}
OPEN_TO_ALL = {"HOST": EVERY_ADDRESS}
BEHIND_PROXY = {"HTTPS": True, "TRUSTED_PROXIES": parse_proxies("127.0.0.1")}
ROOT = Path(__file__).resolve().parents[2]


def database(url: str) -> dict[str, object]:
    return {"default": settings_from_url(url, data_dir=Path("/srv"))}


def allowed(text: str) -> dict[str, object]:
    return {"OUTGOING_ALLOWED": parse_allowed(text)}


def proxies(text: str) -> dict[str, object]:
    return {"HTTPS": True, "TRUSTED_PROXIES": parse_proxies(text)}


def broker(url: str) -> dict[str, object]:
    return {"BROKER_URL": url}


# Each with the ids it gets, all of them, and what its texts must name.
UNSAFE = [
    (BEHIND_PROXY | {"OPEN_MODE": True}, {"W001"}, ["OPEN_MODE=false"]),
    (LAN, {"W002"}, ["WHISPERHUB_HOST is 192.168.7.9", "WHISPERHUB_HTTPS=true"]),
    (OPEN_TO_ALL, {"W002"}, [f"WHISPERHUB_HOST is {EVERY_ADDRESS}"]),
    (BEHIND_PROXY | {"HTTPS": False}, {"W002"}, ["WHISPERHUB_TRUSTED_PROXIES"]),
    (
        {"ALLOWED_HOSTS": ["localhost", "speech.example.org"]},
        {"W002"},
        ["WHISPERHUB_ALLOWED_HOSTS has speech.example.org"],
    ),
    (BEHIND_PROXY | {"DEBUG": True}, {"W003"}, ["WHISPERHUB_DEBUG=false"]),
    (LAN | {"DEBUG": True}, {"W002", "W003"}, ["WHISPERHUB_HOST is 192.168.7.9"]),
    ({"ALLOWED_HOSTS": ["localhost", "*"]}, {"W004"}, ["WHISPERHUB_ALLOWED_HOSTS"]),
    (broker("rediss://queue.internal:6379/0"), {"W005"}, ["queue.internal"]),
    (broker("redis://:secret@10.0.0.5:6379/0"), {"W006"}, ["10.0.0.5", "rediss://"]),
    (broker("redis://queue/0"), {"W005", "W006"}, ["WHISPERHUB_BROKER_URL"]),
    (
        broker("sentinel://localhost:26379;sentinel://other:26379"),
        {"W005", "W006"},
        ["other"],
    ),
    (
        database("postgresql://user@db.internal/name?sslmode=require"),
        {"W007"},
        ["WHISPERHUB_DATABASE_URL", "db.internal"],
    ),
    (database("postgresql://user:secret@/name?host=db"), {"W008"}, ["sslmode=require"]),
    (database("postgresql://u:p@db/name?sslmode=prefer"), {"W008"}, ["db"]),
    (database("mariadb://user@10.0.0.7/name"), {"W007", "W008"}, ["10.0.0.7"]),
    (database("postgresql://user@localhost,db/name"), {"W007", "W008"}, ["for db:"]),
    (allowed("127.0.0.0/8"), {"W009"}, ["127.0.0.0/8"]),
    (allowed("10.1.0.0/16:9000"), {"W009"}, ["10.1.0.0/16:9000"]),
    (allowed("[fd00::/8]:80"), {"W009"}, ["[fd00::/8]:80"]),
    (allowed("169.254.169.254"), {"W009"}, ["169.254.169.254/32"]),
    (allowed("hooks.internal:80, ::1"), {"W009"}, ["::1/128"]),
    (allowed("0.0.0.0/0"), {"W009"}, ["0.0.0.0/0", "hooks.internal:8080"]),
    (allowed("::/0"), {"W009"}, ["::/0"]),
    (proxies("127.0.0.1, 0.0.0.0/0"), {"W010"}, ["has 0.0.0.0/0:"]),
    (proxies("::/0"), {"W010"}, ["WHISPERHUB_TRUSTED_PROXIES has ::/0"]),
    (proxies("0.0.0.0/1, 128.0.0.0/1"), {"W010"}, ["0.0.0.0/1, 128.0.0.0/1"]),
    ({"SECRET_KEY": "too short"}, {"W011"}, ["WHISPERHUB_SECRET_KEY"]),
    ({"SECRET_KEY": "a" * 60}, {"W011"}, ["WHISPERHUB_SECRET_KEY"]),
    (
        {"SECRET_KEY": "django-insecure-abcdefghijklmnopqrstuvwxyz0123456789abcdefg"},
        {"W011"},
        ["WHISPERHUB_SECRET_KEY"],
    ),
    (
        BEHIND_PROXY | {"LOGIN_ATTEMPTS": 0, "LOGIN_ADDRESS_ATTEMPTS": 0},
        {"W013"},
        ["WHISPERHUB_LOGIN_ATTEMPTS=10", "WHISPERHUB_LOGIN_ADDRESS_ATTEMPTS=100"],
    ),
    (
        BEHIND_PROXY | {"DECODER_MEMORY_BYTES": 0},
        {"W014"},
        ["no limit by WHISPERHUB_DECODER_MEMORY:"],
    ),
    (
        BEHIND_PROXY | {"DECODER_MEMORY_BYTES": 0, "DECODER_CPU_SECONDS": 0.0},
        {"W014"},
        ["WHISPERHUB_DECODER_MEMORY and WHISPERHUB_DECODER_CPU_SECONDS"],
    ),
]

SAFE = [
    {},
    {"OPEN_MODE": True},
    {"DEBUG": True, "HOST": "::1", "ALLOWED_HOSTS": ["speech.localhost", "[::1]"]},
    BEHIND_PROXY | OPEN_TO_ALL | {"ALLOWED_HOSTS": ["speech.example.org"]},
    broker("redis://localhost:6379/0"),
    broker("redis://[::1]:6379/0"),
    broker("redis+socket:///run/redis.sock?virtual_host=0"),
    broker("rediss://:secret@queue.internal:6379/0"),
    broker("redis://[not closed"),
    database("postgresql://user@localhost/name"),
    database("postgresql://user@localhost,127.0.0.1/name"),
    database("postgresql://user@/name?host=/run/postgresql"),
    database("postgresql://user@%2Frun%2Fpostgresql/name"),
    database("mariadb://user@db/name?unix_socket=/run/mysqld.sock"),
    database("mysql://user:secret@db/name?ssl-ca=/etc/ca.pem"),
    database("postgresql://user@db/name?sslmode=verify-full&passfile=/etc/pass"),
    allowed("192.168.7.9:9000, [fd00::7]:80, hooks.internal:8080, localhost:9000"),
    allowed("64:ff9b::/96, 198.18.0.0/15"),
    proxies("10.0.0.0/8, fc00::/7, unix"),
    {"LOGIN_ATTEMPTS": 0, "LOGIN_ADDRESS_ATTEMPTS": 0, "DECODER_MEMORY_BYTES": 0},
    BEHIND_PROXY | {"LOGIN_ATTEMPTS": 0},
]


@pytest.fixture
def defaults(settings, tmp_path, monkeypatch):
    """The settings of a service that was given no variable."""
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    settings.OUTGOING_ALLOWED = ()
    settings.BROKER_URL = ""
    # Django warns of a change of the whole dictionary; no connection reads this one.
    monkeypatch.setitem(settings.DATABASES, "default", database("")["default"])
    settings.ENV_FILE = tmp_path / ".env"
    settings.SILENCED_SYSTEM_CHECKS = []
    return settings


@pytest.fixture
def configure(defaults, monkeypatch):
    """Set some of them; `default` is the database."""

    def set_all(values):
        for name, value in values.items():
            if name == "default":
                monkeypatch.setitem(defaults.DATABASES, name, value)
            else:
                setattr(defaults, name, value)

    return set_all


def warnings_of_security():
    return [
        message
        for message in checks.run_checks(tags=[Tags.security])
        if str(message.id).startswith("whisperhub.")
    ]


def ids_of(messages):
    return {message.id.removeprefix("whisperhub.") for message in messages}


@pytest.mark.parametrize(("values", "ids", "named"), UNSAFE)
def test_unsafe_settings_are_warned_of(configure, values, ids, named):
    configure(values)

    messages = warnings_of_security()

    assert ids_of(messages) == ids
    said = " ".join(f"{message.msg} {message.hint}" for message in messages)
    assert all(text in said for text in named), said
    assert "secret@" not in said
    for message in messages:
        assert message.level == checks.WARNING
        assert message.hint
        assert "WHISPERHUB_" in message.msg


@pytest.mark.parametrize("values", SAFE)
def test_safe_settings_are_not_warned_of(configure, values):
    configure(values)

    assert warnings_of_security() == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_an_env_file_that_others_can_read_or_change_is_warned_of(defaults, mode):
    defaults.ENV_FILE.touch()
    defaults.ENV_FILE.chmod(mode)

    (message,) = warnings_of_security()

    assert message.id == "whisperhub.W012"
    assert f"mode {mode:04o}" in message.msg
    assert message.hint == f"chmod 600 {defaults.ENV_FILE}"


def test_an_env_file_of_our_own_and_a_device_are_not_warned_of(defaults):
    defaults.ENV_FILE.touch()
    defaults.ENV_FILE.chmod(0o600)
    assert warnings_of_security() == []

    defaults.ENV_FILE = Path(os.devnull)
    assert warnings_of_security() == []


def test_the_document_lists_every_id():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    documented = re.findall(r"^\| `whisperhub\.(W\d+)` \|", text, re.MULTILINE)

    assert documented == sorted(every_id())


def every_id() -> set[str]:
    return {"W012"}.union(*(ids for _, ids, _ in UNSAFE))
