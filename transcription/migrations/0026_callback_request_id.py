from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transcription", "0025_sentences_in_parts")]

    operations = [
        migrations.AddField(
            model_name="callback",
            name="request_id",
            field=models.CharField(blank=True, max_length=64),
        ),
    ]
