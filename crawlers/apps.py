"""The crawlers application."""

from django.apps import AppConfig


class CrawlersConfig(AppConfig):
    """Finds the media behind a share link."""

    name = "crawlers"
