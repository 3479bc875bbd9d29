from django.db import migrations, models


class Migration(migrations.Migration):
    """Keys that exist may go on reading and writing; none becomes one of an admin."""

    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scope",
            field=models.CharField(
                default="read write", help_text="What the key may do.", max_length=100
            ),
        ),
    ]
