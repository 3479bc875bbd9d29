"""The workers application."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    """The processes that run the queue; its commands are runworkers and the like."""

    name = "workers"
