from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_apikey_scope")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="public_id",
            field=models.UUIDField(editable=False, null=True),
        ),
    ]
