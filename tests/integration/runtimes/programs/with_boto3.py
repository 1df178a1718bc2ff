"""boto3, speaking DynamoDB's protocol: PLAIN-URL SECURE-URL CERTIFICATE."""

import sys

import boto3

plain, secure, certificate = sys.argv[1:]
session = boto3.session.Session("AKIDLOCAL", "local", region_name="eu-west-1")
item = {"Key": {"S": "a"}, "Body": {"B": b"x" * 100_000}}
client = session.client("dynamodb", endpoint_url=plain)
client.get_item(TableName="Table", Key={"Key": item["Key"]})
client.put_item(TableName="Table", Item=item)
client.get_item(TableName="Table", Key={"Key": item["Key"]})
client.close()
client = session.client("dynamodb", endpoint_url=secure, verify=certificate)
client.get_item(TableName="Table", Key={"Key": item["Key"]})
client.put_item(TableName="Table", Item=item)
client.close()
