"""What the service writes is for its own user, also after an upgrade."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from whisperhub import env, private_files

SAYS_MODES = """
import django
django.setup()
from django.conf import settings
from pathlib import Path
Path(settings.DATA_DIR, "made").write_text("x")
Path(settings.MEDIA_ROOT, "made").write_text("x")
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """What makes files that others can read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "notes", [])


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """We are somebody else than the owner of what is there."""
    someone = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone)


def start(data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that reads the settings, as every one of ours does, and writes."""
    return subprocess.run(
        [sys.executable, "-c", SAYS_MODES],
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "whisperhub.settings",
            "WHISPERHUB_ENV_FILE": os.devnull,
            "WHISPERHUB_DATA_DIR": str(data_dir),
            **environment,
        },
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )


def test_an_installation_of_before_is_closed_and_the_log_says_so_once(tmp_path):
    data_dir = tmp_path / "var"
    for folder in ("", "logs", "media"):
        (data_dir / folder).mkdir(mode=0o755)
    files = ["whisperhub.sqlite3", "whisperhub.sqlite3-wal", "logs/web.log.1"]
    for name in files:
        (data_dir / name).touch(mode=0o644)

    first = start(data_dir)
    second = start(data_dir)

    assert first.returncode == 0, first.stderr
    for folder in (data_dir, data_dir / "logs", data_dir / "media"):
        assert mode(folder) == 0o700, folder
        assert f"{folder} could be read by other users (mode 0755)" in first.stderr
    for name in [*files, "made", "media/made", "logs/whisperhub.log"]:
        assert mode(data_dir / name) == 0o600, name
    assert "could be read" not in second.stderr


@pytest.mark.usefixtures("another_user")
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPERHUB_TRIED", str(tmp_path))

    with pytest.raises(ImproperlyConfigured) as refused:
        env.folder("TRIED", "x", base=tmp_path)

    said = str(refused.value)
    assert said.startswith(f"WHISPERHUB_TRIED: {tmp_path} belongs to user ")
    assert "Name a folder inside it" in said


def test_a_folder_that_is_not_ours_alone_is_left_as_it_is(tmp_path, monkeypatch):
    shared = tmp_path / "log"
    shared.mkdir(mode=0o755)
    monkeypatch.setenv("WHISPERHUB_TRIED", str(shared))

    env.folder("TRIED", "x", base=tmp_path / "var", ours=False)

    assert mode(shared) == 0o755
    assert mode(env.folder("OTHER", "new", base=tmp_path)) == 0o700


def test_a_shared_media_folder_belongs_to_its_group(tmp_path):
    data_dir, media = tmp_path / "var", tmp_path / "media"
    media.mkdir(mode=0o700)

    done = start(
        data_dir,
        WHISPERHUB_MEDIA_DIR=str(media),
        WHISPERHUB_MEDIA_GROUP=str(os.getegid()),
    )

    assert done.returncode == 0, done.stderr
    assert mode(media) == 0o2770
    assert mode(media / "made") == 0o660
    assert mode(media / "incoming") & 0o777 == 0o770
    assert mode(data_dir) == 0o700


def test_a_group_cannot_share_a_folder_inside_the_data_folder(tmp_path):
    done = start(tmp_path / "var", WHISPERHUB_MEDIA_GROUP=str(os.getegid()))

    assert done.returncode != 0
    assert "WHISPERHUB_MEDIA_GROUP: the group cannot reach" in done.stderr


def test_a_folder_of_another_member_of_the_group_is_taken(tmp_path, monkeypatch):
    tmp_path.chmod(0o2770)
    group = tmp_path.stat().st_gid
    someone = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone)

    private_files.make_own_folder(tmp_path, group=group)

    tmp_path.chmod(0o2750)
    with pytest.raises(ValueError, match="belongs to user"):
        private_files.make_own_folder(tmp_path, group=group)


def test_a_group_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no group 'no-such-group'"):
        private_files.group_number("no-such-group")


def test_a_file_system_that_knows_no_modes_is_told_of(tmp_path, monkeypatch: Any):
    folder = tmp_path / "share"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(Path, "chmod", lambda path, mode: None)

    private_files.make_own_folder(folder)

    (note,) = private_files.notes
    assert "does not let us change that" in note


def test_links_and_files_of_others_are_not_changed(tmp_path):
    target = tmp_path / "target"
    target.touch(mode=0o644)
    (tmp_path / "a.log").symlink_to(target)

    private_files.close_files([tmp_path / "a.log", tmp_path / "absent.log"])

    assert mode(target) == 0o644
    assert private_files.notes == []
