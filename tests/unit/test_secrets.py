"""Secrets that are made at the first start."""

from __future__ import annotations

from pathlib import Path

from whisperhub.secrets import read_or_create

ROOT = Path(__file__).resolve().parents[2]


def test_a_secret_is_kept(tmp_path):
    path = tmp_path / "folder" / "key"

    first = read_or_create(path)

    assert len(first) >= 50
    assert read_or_create(path) == first


def test_only_the_owner_can_read_it(tmp_path):
    path = tmp_path / "folder" / "key"

    read_or_create(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_else_is_left_in_the_folder(tmp_path):
    read_or_create(tmp_path / "key")

    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_two_secrets_differ(tmp_path):
    assert read_or_create(tmp_path / "a") != read_or_create(tmp_path / "b")


def test_the_loser_of_the_race_takes_the_winners_secret(tmp_path, monkeypatch):
    path = tmp_path / "key"

    def link_too_late(draft: object, target: Path) -> None:
        target.write_text("the winner's")
        raise FileExistsError

    monkeypatch.setattr("os.link", link_too_late)

    assert read_or_create(path) == "the winner's"
    assert [found.name for found in tmp_path.iterdir()] == ["key"]
