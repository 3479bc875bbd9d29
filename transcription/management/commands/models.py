"""The models on this machine: list, fetch, verify, remove."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from transcription.engines.store import fetching, installed
from transcription.engines.store.errors import StoreError
from transcription.services.models_on_disk import slots_using
from whisperhub.console import draw_download


class Command(BaseCommand):
    help = "List, fetch, verify or remove the models on this machine."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The action, and the model it is about."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="what lies on this machine")
        fetch = actions.add_parser("fetch", help="download a model, unless it is here")
        fetch.add_argument("name")
        remove = actions.add_parser("remove", help="delete a model")
        remove.add_argument("name")
        remove.add_argument(
            "--force", action="store_true", help="also one that running slots use"
        )
        verify = actions.add_parser("verify", help="check files against digests")
        verify.add_argument("name", nargs="?", default="")

    def handle(self, *_: Any, **options: Any) -> None:
        """Do what was asked; one sentence if that cannot be."""
        try:
            if options["action"] == "list":
                self.list_models()
            elif options["action"] == "fetch":
                self.fetch(options["name"])
            elif options["action"] == "verify":
                self.verify(options["name"])
            else:
                self.remove(options["name"], force=options["force"])
        except (StoreError, ValueError) as error:
            raise CommandError(str(error)) from error

    def list_models(self) -> None:
        """A line for each model."""
        stored = installed.stored_models(settings.MODEL_DIR)
        for model in stored:
            self.stdout.write(
                f"{model.name:24} {model.size_bytes / 1e6:8.1f} MB  {model.source:14} "
                f"{model.digest[:12] or '-':12}  "
                f"{', '.join(slots_using(model)) or 'no slot'}"
            )
        if not stored:
            self.stdout.write(f"No models in {settings.MODEL_DIR}.")

    def fetch(self, name: str) -> None:
        """Download it; a terminal shows a bar."""
        folder = fetching.fetch(
            name, settings.MODEL_DIR, on_bytes=draw_download, say=self.stdout.write
        )
        self.stdout.write(f"{name} is in {folder}.")

    def verify(self, name: str) -> None:
        """Say of each model what is wrong with it."""
        broken = 0
        for model in self._named(name) if name else self._all():
            wrong = installed.faults(model)
            broken += bool(wrong)
            self.stdout.write(f"{model.name}: {'; '.join(wrong) or 'whole'}")
        if broken:
            raise CommandError("Remove and fetch again what is not whole.")

    def remove(self, name: str, *, force: bool) -> None:
        """Delete it from every place it lies in."""
        used = [slot for model in self._named(name) for slot in slots_using(model)]
        if used and not force:
            raise StoreError(
                f"The slots {', '.join(used)} use {name}. Take it out of the plan, or "
                "say --force."
            )
        with installed.locked(settings.MODEL_DIR, name):
            for model in self._named(name):
                installed.remove(model)
                self.stdout.write(f"{name} is removed from {model.folder}.")

    def _all(self) -> list[installed.StoredModel]:
        return installed.stored_models(settings.MODEL_DIR)

    def _named(self, name: str) -> list[installed.StoredModel]:
        found = [model for model in self._all() if name in model.names]
        if not found:
            raise StoreError(f"There is no model {name} in {settings.MODEL_DIR}.")
        return found
