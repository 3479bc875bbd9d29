import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transcription", "0033_task_samples"),
        ("accounts", "0010_quota_account"),
    ]

    operations = [
        migrations.AddField(
            model_name="transcriptiontask",
            name="quota_account",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                editable=False,
                help_text="What it is counted for; see accounts.limits.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="tasks",
                to="accounts.quotaaccount",
            ),
        ),
        migrations.AlterField(
            model_name="transcriptiontask",
            name="key_line",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="transcriptiontask",
            name="charged_seconds",
            field=models.FloatField(
                blank=True,
                editable=False,
                help_text="Seconds of audio that were counted for that account.",
                null=True,
            ),
        ),
    ]
