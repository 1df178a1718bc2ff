"""The AWS account: one call at a time, each refusal explained: which action, on what, what to do.

Imported only where AWS is asked; boto3 takes half a second.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from lambdatrace.aws import error_code, one_line, setup_problem
from lambdatrace.errors import LayerError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Service = Literal["lambda", "dynamodb", "iam"]

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,  # a layer is uploaded in one request
    retries={"mode": "standard", "max_attempts": 5},
)
# A function may take 15 minutes, and is not to be invoked a second time.
_INVOKING = Config(connect_timeout=5, read_timeout=910, retries={"total_max_attempts": 1})
_SERVICES = {"lambda": "Lambda", "dynamodb": "DynamoDB", "iam": "IAM"}
_DENIED = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation")
_BUSY = ("ResourceConflictException", "ResourceInUseException", "PreconditionFailedException")
_ABSENT = ("ResourceNotFoundException", "NoSuchEntity")


class AbsentError(LayerError):
    """What was asked about is not there."""


class BusyError(LayerError):
    """Something else is changing it at this moment."""


class Account:
    """Calls to Lambda, DynamoDB and IAM with one set of credentials, in one region.

    Raises LayerError from every method when AWS refuses, or cannot be asked.
    """

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        try:
            self._session = boto3.session.Session(
                # boto3 knows AWS_DEFAULT_REGION and its profiles only.
                region_name=region or environ.get("AWS_REGION") or None,
                profile_name=profile,
            )
        except aws.BotoCoreError as error:
            raise _explained(error, "AWS", "", "") from error
        self._clients: dict[Service, Any] = {}

    @property
    def region(self) -> str:
        """The region that calls go to. Raises LayerError when none is set."""
        return str(self._client("lambda").meta.region_name)

    def call(self, service: Service, method: str, what: str, **arguments: Any) -> dict[str, Any]:
        """One call; `what` is the thing that it is about, in words.

        Raises AbsentError, BusyError, or LayerError for every other refusal.
        """
        client = self._client(service)
        action = f"{service}:{client.meta.method_to_api_mapping[method]}"
        try:
            answer: dict[str, Any] = getattr(client, method)(**arguments)
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise _explained(error, _SERVICES[service], action, what) from error
        return answer

    def invoke(self, name: str, payload: bytes) -> dict[str, Any]:
        """Invoke a function once and wait for its answer. Raises LayerError."""
        try:
            client = self._session.client("lambda", config=_INVOKING)
            return dict(
                client.invoke(
                    FunctionName=name,
                    InvocationType="RequestResponse",
                    LogType="Tail",
                    Payload=payload,
                )
            )
        except (aws.ClientError, aws.BotoCoreError) as error:
            action, what = "lambda:InvokeFunction", f"function {name}"
            raise _explained(error, _SERVICES["lambda"], action, what) from error

    def pages(
        self, service: Service, method: str, what: str, items: str, **arguments: Any
    ) -> Iterator[Any]:
        """The `items` of every page of a listing."""
        marker: dict[str, Any] = {}
        while True:
            page = self.call(service, method, what, **arguments, **marker)
            yield from page[items]
            following = page.get("NextMarker") or page.get("Marker")
            if not following:
                return
            marker = {"Marker": following}

    def _client(self, service: Service) -> Any:
        if service not in self._clients:
            try:
                self._clients[service] = self._session.client(service, config=_CONFIG)
            except (aws.BotoCoreError, ValueError) as error:
                raise _explained(error, _SERVICES[service], "", "") from error
        return self._clients[service]


def function_missing(name: str, region: str) -> NotFoundError:
    """There is no such function."""
    return NotFoundError(
        f"there is no function {name} in {region}",
        "check its name, and --region: `aws lambda list-functions` lists those there are",
    )


def _explained(error: Exception, service: str, action: str, what: str) -> LayerError:
    if problem := setup_problem(error, service):
        return LayerError(*problem)
    code, message = error_code(error)
    if code in _DENIED:
        return LayerError(
            f"AWS does not allow {action} on {what}",
            f"who deploys needs that permission (docs/deploy.md lists all); AWS says: {message}",
        )
    if code in _ABSENT:
        return AbsentError(f"{what} is not there", message)
    if code in _BUSY:
        return BusyError(f"{what} is being changed by something else", "try again in a minute")
    if code:
        return LayerError(f"{service} refused {action} on {what}: {code}", message)
    return LayerError(f"{service} cannot be asked: {one_line(error)}", "check the configuration")
