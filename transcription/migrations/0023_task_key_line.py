from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0021_task_retried_at")]

    operations = [
        migrations.AddField(
            model_name="transcriptiontask",
            name="key_line",
            field=models.BigIntegerField(
                blank=True,
                editable=False,
                help_text="The line of keys whose quotas it counts for; see accounts.limits.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="transcriptiontask",
            name="charged_seconds",
            field=models.FloatField(
                blank=True,
                editable=False,
                help_text="Seconds of audio that were counted for that line.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["key_line", "status"], name="task_of_key_line"),
        ),
    ]
