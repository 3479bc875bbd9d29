import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_fill_first_keys")]

    operations = [
        migrations.CreateModel(
            name="DailyUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "line",
                    models.BigIntegerField(
                        help_text="The first key of the line; below zero: without a key."
                    ),
                ),
                ("day", models.DateField(help_text="In UTC.")),
                ("audio_seconds", models.FloatField(default=0.0)),
                (
                    "tasks",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Whose audio was counted for the first time.",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="daily_usage",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "daily usage",
                "verbose_name_plural": "daily usage",
                "ordering": ["-day", "-pk"],
                "indexes": [
                    models.Index(fields=["owner", "day"], name="usage_of_owner"),
                    models.Index(fields=["day"], name="usage_oldest"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("line", "day"), name="usage_of_line"
                    )
                ],
            },
        ),
    ]
