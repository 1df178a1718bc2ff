"""boto3: `with_boto3.py ENDPOINT TABLE COUNT` prints what became of each of so many calls."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, table, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = boto3.client(
    "dynamodb",
    endpoint_url=endpoint,
    region_name="eu-west-1",
    aws_access_key_id="AKIDLOCAL",
    aws_secret_access_key="local",
    config=Config(retries={"total_max_attempts": 1}, max_pool_connections=4),
)
KEYS = [{"AttributeName": "id", "KeyType": "HASH"}]


def key(number: int) -> dict[str, dict[str, str]]:
    return {"id": {"S": f"{number:05}"}}


def ask(number: int) -> str:
    body = {"B": b"x" * (number * 37 % 5000)}
    try:
        if number % 5 == 0:
            once = "attribute_not_exists(id)"
            client.put_item(TableName=table, Item=key(0), ConditionExpression=once)
        elif number % 5 == 1:
            client.put_item(TableName=f"{table}-2", Item=key(number))
        elif number % 5 == 2:
            return str(len(client.get_item(TableName=table, Key=key(1))["Item"]["body"]["B"]))
        elif number % 5 == 3:
            client.put_item(TableName=table, Item={**key(number), "body": body})
        else:
            found = client.query(
                TableName=table,
                KeyConditionExpression="id = :id",
                ExpressionAttributeValues={":id": key(1)["id"]},
            )
            return str(found["Count"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done"


client.create_table(
    TableName=table,
    KeySchema=KEYS,
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    BillingMode="PAY_PER_REQUEST",
)
for number in (0, 1):
    client.put_item(TableName=table, Item={**key(number), "body": {"B": b"y" * 100_000}})
with ThreadPoolExecutor(4) as pool:
    for line in pool.map(ask, range(count - 4)):
        print(line)
client.delete_table(TableName=table)
client.close()
