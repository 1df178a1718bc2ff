"""What is wrong when AWS cannot even be asked: no region, no credentials, no network.

Shared by those who use boto3; imported only together with it.
"""

from __future__ import annotations

from botocore import exceptions as aws

NO_LOGIN_HINT = "run: aws configure, or aws sso login; or name a profile with --profile"
LOGIN_HINT = "log in again, for example with: aws sso login, or aws configure"
_EXPIRED = ("ExpiredTokenException", "ExpiredToken", "RequestExpired")
_NOT_ACCEPTED = (
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "IncompleteSignature",
)  # fmt: skip


def setup_problem(error: Exception, service: str) -> tuple[str, str] | None:
    """What happened and what to do, where an error is about the caller's set-up; None elsewhere.

    `service` is the one that was asked, in words.
    """
    if isinstance(error, aws.NoRegionError):
        return "no AWS region is set", "set AWS_REGION, or name one with --region"
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return "there are no AWS credentials", NO_LOGIN_HINT
    if isinstance(error, aws.CredentialRetrievalError | aws.SSOError | aws.TokenRetrievalError):
        return f"AWS credentials cannot be had: {one_line(error)}", LOGIN_HINT
    if isinstance(error, aws.ProfileNotFound):
        return one_line(error), "check --profile or AWS_PROFILE, and ~/.aws/config"
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return (
            f"{service} cannot be reached: {one_line(error)}",
            "check the network, the region and the endpoint",
        )
    code, message = error_code(error)
    if code in _EXPIRED:
        return "the AWS session has expired", LOGIN_HINT
    if code in _NOT_ACCEPTED:
        return f"AWS does not accept the credentials: {message}", LOGIN_HINT
    return None


def error_code(error: Exception) -> tuple[str, str]:
    """Code and message of what a service refused; empty for other errors."""
    if not isinstance(error, aws.ClientError):
        return "", ""
    details = error.response.get("Error", {})
    return details.get("Code", ""), one_line(details.get("Message", ""))


def one_line(error: object) -> str:
    """An error's text in one line of printable characters, 300 at most."""
    text = " ".join(str(error).split())
    return "".join(filter(str.isprintable, text))[:300]
