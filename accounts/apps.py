"""The accounts application."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People who own tasks, and the keys their programs use."""

    name = "accounts"
    verbose_name = "Accounts"
