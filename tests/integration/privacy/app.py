"""A function that takes secrets everywhere, gets them in every way, and fails with one."""

from __future__ import annotations

import os
from typing import Any

import leaks


def handler(event: dict[str, Any], context: Any) -> dict[str, str]:
    secrets = event["secrets"]
    assert context.client_context.custom == {"secret": secrets["client_context"]}
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == secrets["secret_key"]
    if event.get("fail"):
        raise ValueError(secrets["failure"])
    leaks.everything(secrets, event["places"])
    return {"secret": secrets["response"]}
