from django.db import migrations, transaction
from django.db.models import F, OuterRef, Subquery

BATCH = 5_000


def batches(rows):
    """Ranges of ids with `BATCH` rows each, so that none is a long transaction."""
    last = 0
    while True:
        ids = list(
            rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
        )
        if not ids:
            return
        yield rows.filter(pk__gt=last, pk__lte=ids[-1])
        last = ids[-1]


def fill(apps, schema_editor):
    """Make an account for each number; can go on where it was interrupted."""
    alias = schema_editor.connection.alias
    accounts, api_keys, usage, users = (
        apps.get_model("accounts", name).objects.using(alias)
        for name in ("QuotaAccount", "ApiKey", "DailyUsage", "User")
    )
    user_ids = set(users.values_list("pk", flat=True))
    numbers = {}
    used = usage.exclude(line=None).order_by().values_list("line", "owner_id")
    for number, owner_id in used.distinct():
        owner_id = owner_id if number > 0 else -number
        if owner_id in user_ids:
            numbers[number] = owner_id
    # The owner of a key is sure; a row of usage may be of another one's task.
    keys = api_keys.filter(quota_account=None)
    for key_id, first_key, owner_id in keys.values_list("pk", "first_key", "owner_id"):
        numbers[first_key or key_id] = owner_id
    known = set(
        accounts.exclude(legacy_number=None).values_list("legacy_number", flat=True)
    )
    accounts.bulk_create(
        [
            accounts.model(owner_id=owner_id, legacy_number=number)
            for number, owner_id in sorted(numbers.items())
            if number not in known
        ],
        batch_size=500,
    )

    account = accounts.order_by().values("pk")
    for rows in batches(keys):
        with transaction.atomic(using=alias):
            rows.filter(first_key=None).update(
                quota_account=Subquery(account.filter(legacy_number=OuterRef("pk")))
            )
            rows.exclude(first_key=None).update(
                quota_account=Subquery(
                    account.filter(legacy_number=OuterRef("first_key"))
                )
            )
    for account_id, number in accounts.filter(legacy_number__lt=0).values_list(
        "pk", "legacy_number"
    ):
        users.filter(pk=-number, quota_account=None).update(quota_account=account_id)
    for rows in batches(usage.filter(quota_account=None, line__isnull=False)):
        with transaction.atomic(using=alias):
            rows.update(
                quota_account=Subquery(account.filter(legacy_number=OuterRef("line")))
            )


def unfill(apps, schema_editor):
    """Give the numbers back; 0035 of the other app has numbered the new accounts."""
    alias = schema_editor.connection.alias
    accounts, api_keys, usage = (
        apps.get_model("accounts", name).objects.using(alias)
        for name in ("QuotaAccount", "ApiKey", "DailyUsage")
    )
    account = accounts.order_by().filter(pk=OuterRef("quota_account_id"))
    number = Subquery(account.values("legacy_number"))
    for rows in batches(api_keys.filter(quota_account__isnull=False)):
        with transaction.atomic(using=alias):
            rows.update(first_key=number)
            # A key that is the first has none.
            rows.filter(first_key=F("pk")).update(first_key=None)
    counted = usage.filter(quota_account__isnull=False)
    for rows in batches(counted.filter(line=None)):
        with transaction.atomic(using=alias):
            for row in rows.select_related("quota_account"):
                # An earlier release may have counted beside this one.
                same = usage.filter(line=row.quota_account.legacy_number, day=row.day)
                if same.update(
                    audio_seconds=F("audio_seconds") + row.audio_seconds,
                    tasks=F("tasks") + row.tasks,
                ):
                    usage.filter(pk=row.pk).delete()
                else:
                    usage.filter(pk=row.pk).update(line=row.quota_account.legacy_number)
    # Whose account is gone with another owner; nobody asks for it by its number.
    for rows in batches(usage.filter(line=None, quota_account=None)):
        with transaction.atomic(using=alias):
            rows.update(line=2**61 + F("pk"))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("accounts", "0010_quota_account")]

    operations = [migrations.RunPython(fill, unfill)]
