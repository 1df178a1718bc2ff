"""Creates the DynamoDB table that executions are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
            client.create_table(
                TableName=url.table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": HASH_KEY, "AttributeType": "S"},
                    {"AttributeName": RANGE_KEY, "AttributeType": "N"},
                ],
                KeySchema=[
                    {"AttributeName": HASH_KEY, "KeyType": "HASH"},
                    {"AttributeName": RANGE_KEY, "KeyType": "RANGE"},
                ],
            )
            created = True
        except client.exceptions.ResourceInUseException:
            created = False
        client.get_waiter("table_exists").wait(TableName=url.table)
        if created:
            client.update_time_to_live(
                TableName=url.table,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT},
            )
        return created
