import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_dailyusage")]

    operations = [
        migrations.CreateModel(
            name="QuotaAccount",
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
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "legacy_number",
                    models.BigIntegerField(
                        editable=False,
                        help_text="What earlier releases counted under instead of this account.",
                        null=True,
                        unique=True,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quota_accounts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="user",
            name="quota_account",
            field=models.OneToOneField(
                editable=False,
                help_text="What this user's requests without an API key are counted for.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="user_without_key",
                to="accounts.quotaaccount",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="quota_account",
            field=models.ForeignKey(
                editable=False,
                help_text="Shared with the keys that rotation makes of this one.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="api_keys",
                to="accounts.quotaaccount",
            ),
        ),
        migrations.AlterField(
            model_name="apikey",
            name="first_key",
            field=models.BigIntegerField(db_index=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="dailyusage",
            name="quota_account",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="daily_usage",
                to="accounts.quotaaccount",
            ),
        ),
        migrations.AlterField(
            model_name="dailyusage",
            name="line",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="dailyusage",
            constraint=models.UniqueConstraint(
                fields=("quota_account", "day"), name="usage_of_account"
            ),
        ),
    ]
