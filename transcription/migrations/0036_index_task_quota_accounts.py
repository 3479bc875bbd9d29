from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0035_fill_task_quota_accounts")]

    operations = [
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["quota_account", "status"], name="task_of_account"
            ),
        ),
        # Each change of a status would cost a write to both.
        migrations.RemoveIndex(model_name="transcriptiontask", name="task_of_key_line"),
    ]
