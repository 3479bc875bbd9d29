"""The log: a request id in each line, one file that is turned over by size."""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django.core.exceptions
import pytest
import uvicorn.config
from django.core.exceptions import DisallowedHost, SuspiciousOperation

from whisperhub.logging import SUSPICIONS, RequestIdFilter, logging_config
from whisperhub.web.request_id import current_request_id


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The test's logging is undone, its files are closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def configure(folder: Path | None, *, max_bytes: int = 10**6, count: int = 3) -> None:
    config = logging_config(
        level="INFO", folder=folder, max_bytes=max_bytes, backup_count=count
    )
    logging.config.dictConfig(config)


def test_each_line_has_the_request_id(restored_logging, tmp_path):
    configure(tmp_path)
    logger = logging.getLogger("tests.logging")

    token = current_request_id.set("abc-123")
    logger.info("inside a request")
    current_request_id.reset(token)
    logger.info("outside of any")

    inside, outside = (tmp_path / "whisperhub.log").read_text().splitlines()
    assert "INFO tests.logging" in inside
    assert inside.endswith("[abc-123] inside a request")
    assert outside.endswith("[-] outside of any")


def test_what_strangers_cause_leaves_one_line_and_no_traceback(
    restored_logging, tmp_path
):
    configure(tmp_path)
    try:
        raise DisallowedHost("Invalid HTTP_HOST header: 'evil.example'.")
    except DisallowedHost as error:
        # As Django does it.
        logging.getLogger(f"django.security.{type(error).__name__}").exception(error)

    (line,) = (tmp_path / "whisperhub.log").read_text().splitlines()
    assert line.endswith("Invalid HTTP_HOST header: 'evil.example'.")


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("a\nb", "a\\nb"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\x00\x7f\x85\x9b", "a\\x00\\x7f\\x85\\x9b"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("a\u202etxt\u2066", "a\\u202etxt\\u2066"),
        ("a\ud800b", "a\\ud800b"),
        ("谈话 é", "谈话 é"),
    ],
    ids=["LF", "CRLF", "ANSI", "C0 and C1", "separators", "bidi", "surrogate", "text"],
)
@pytest.mark.parametrize("logger", ["tests.logging", "uvicorn.error", "celery.worker"])
def test_control_characters_are_escaped(
    sent, written, logger, restored_logging, tmp_path
):
    configure(tmp_path)

    logging.getLogger(logger).warning("Refused %s: too long", sent)

    log = (tmp_path / "whisperhub.log").read_bytes().decode()
    assert log.endswith(f"[-] Refused {written}: too long\n")
    assert log.count("\n") == 1


def test_what_an_exception_says_begins_no_line(restored_logging, tmp_path):
    configure(tmp_path)
    try:
        raise ValueError("one\n2026-11-26 00:00:00,000 INFO accounts forged\x1b[2J")
    except ValueError:
        logging.getLogger("tests.logging").exception("It failed", stack_info=True)

    first, *others = (tmp_path / "whisperhub.log").read_text().split("\n")[:-1]
    assert first.endswith("[-] It failed")
    assert any("INFO accounts forged\\x1b[2J" in line for line in others)
    assert all(line.startswith("    ") for line in others)


def test_uvicorn_has_no_handlers_beside_ours(restored_logging, tmp_path):
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)

    configure(tmp_path)

    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        assert not logging.getLogger(name).handlers
        assert logging.getLogger(name).propagate


def test_every_suspicion_of_django_is_known_by_name():
    def kinds(parent: type[Any]) -> set[str]:
        below = [kinds(child) for child in parent.__subclasses__()]
        return {parent.__name__}.union(*below)

    ours = kinds(SuspiciousOperation) & {
        name for name in dir(django.core.exceptions) if not name.startswith("_")
    }
    assert ours <= {*SUSPICIONS, "DisallowedRedirect", "RequestAborted"}


def test_the_console_gets_the_same_lines(restored_logging, tmp_path, capsys):
    configure(None)

    logging.getLogger("tests.logging").warning("seen")

    assert capsys.readouterr().err.endswith("[-] seen\n")
    assert not list(tmp_path.iterdir())


def test_the_file_is_turned_over_by_size_and_old_ones_go(restored_logging, tmp_path):
    configure(tmp_path, max_bytes=2_000, count=2)
    logger = logging.getLogger("tests.logging")

    for number in range(100):
        logger.info("line %03d %s", number, "x" * 40)

    files = {path.name for path in tmp_path.iterdir() if ".log" in path.name}
    files -= {".__whisperhub.lock"}
    assert files == {"whisperhub.log", "whisperhub.log.1", "whisperhub.log.2"}
    # The line that fills a file may stand in it.
    assert all((tmp_path / name).stat().st_size < 2_200 for name in files)
    assert "line 099" in (tmp_path / "whisperhub.log").read_text()


def test_the_chatter_of_libraries_is_kept_out(restored_logging, tmp_path):
    configure(tmp_path)

    for name in ("httpx", "faster_whisper", "uvicorn.access", "celery.app.trace"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")

    log = (tmp_path / "whisperhub.log").read_text()
    assert "chatter" not in log
    assert log.count("trouble") == 4


def test_the_filter_lets_every_record_pass():
    record: Any = logging.LogRecord(
        "n", logging.INFO, __file__, 1, "m", (), sys.exc_info()
    )

    assert RequestIdFilter().filter(record) is True
    assert record.request_id == "-"
