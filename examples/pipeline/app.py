"""The function lambdatrace was made for: fetch from an HTTP API, transform, write to a table.

An ordinary Lambda handler: nothing in it knows that it is traced.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

import boto3
from botocore.config import Config

PARTNER_API = os.environ.get("PARTNER_API", "http://api.partner.example:8080")
ORDERS_TABLE = os.environ.get("ORDERS_TABLE", "Orders")

# Made during init and kept: its connection is used again by the executions that follow.
_dynamodb = boto3.client(
    "dynamodb",
    endpoint_url=os.environ.get("ORDERS_ENDPOINT"),
    config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2}),
)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Take the partner's open orders over into the table `ORDERS_TABLE`.

    The event may name another `api` or `path` to fetch from.
    """
    orders = fetch(event.get("api", PARTNER_API) + event.get("path", "/orders"))
    rows = [transform(order) for order in orders]
    store(rows)
    return {"stored": len(rows), "cents": sum(int(row["Cents"]["N"]) for row in rows)}


def fetch(url: str) -> list[dict[str, Any]]:
    """The orders an API answers with."""
    with urllib.request.urlopen(url) as response:  # noqa: S310  # http, as configured
        orders: list[dict[str, Any]] = json.load(response)
    return orders


def transform(order: dict[str, Any]) -> dict[str, Any]:
    """One order as an item of the table: cents instead of a decimal, one address line."""
    return {
        "OrderID": {"S": str(order["id"])},
        "Cents": {"N": str(round(order["total"] * 100))},
        "Address": {"S": ", ".join((order["street"], order["city"]))},
    }


def store(rows: list[dict[str, Any]]) -> None:
    """Write the rows, 25 at a time (DynamoDB's limit)."""
    for begin in range(0, len(rows), 25):
        puts: list[Any] = [{"PutRequest": {"Item": row}} for row in rows[begin : begin + 25]]
        _dynamodb.batch_write_item(RequestItems={ORDERS_TABLE: puts})
