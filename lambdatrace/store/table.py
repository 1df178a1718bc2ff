"""Creates the DynamoDB table that executions are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace.store.attributes import EXPIRES_AT, HASH_KEY, RANGE_KEY
from lambdatrace.store.dynamodb import connect, explained

if TYPE_CHECKING:
    from lambdatrace.store.url import StoreUrl


def create_table(url: StoreUrl) -> bool:
    """Create the table `url` names, paid by request, and have it forget expired items (TTL).

    Returns once it can be used: True if it was created, False if it was there already (and is
    left as it is). Raises StoreError.
    """
    client = connect(url)
    with explained(url.table):
        try:
            client.create_table(**definition(url.table))
            created = True
        except client.exceptions.ResourceInUseException:
            created = False
        client.get_waiter("table_exists").wait(TableName=url.table)
        if created:
            client.update_time_to_live(**expiry(url.table))
        return created


def definition(table: str, kms_key: str | None = None) -> dict[str, Any]:
    """The arguments of CreateTable: paid by request, encrypted with `kms_key` or AWS's own key."""
    encryption = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": kms_key}
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": HASH_KEY, "AttributeType": "S"},
            {"AttributeName": RANGE_KEY, "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": HASH_KEY, "KeyType": "HASH"},
            {"AttributeName": RANGE_KEY, "KeyType": "RANGE"},
        ],
        **({"SSESpecification": encryption} if kms_key else {}),
    }


def expiry(table: str) -> dict[str, Any]:
    """The arguments of UpdateTimeToLive."""
    return {
        "TableName": table,
        "TimeToLiveSpecification": {"Enabled": True, "AttributeName": EXPIRES_AT},
    }
