"""`python -m lambdatrace.agent`: Lambda starts it as an external extension."""

from __future__ import annotations

import os
import sys

from lambdatrace.agent.extensions_api import ExtensionsApi
from lambdatrace.agent.front import Supervisor, run
from lambdatrace.agent.http import HttpError
from lambdatrace.agent.log import log
from lambdatrace.agent.settings import Settings, read_switch

# Lambda insists that an extension registers under its file name in /opt/extensions.
NAME = "lambdatrace"


def main() -> int:
    """Run the extension; returns the exit code."""
    settings = Settings(os.environ)
    if not settings.runtime_api:
        log(
            "AWS_LAMBDA_RUNTIME_API is not set: this is started by Lambda, or by lambdatrace invoke"
        )
        return 2
    api = _api(settings.runtime_api)
    try:
        return run(api, Supervisor(settings, api.close), managed=settings.is_managed)
    except HttpError as error:
        log(f"cannot register as an extension: {error}")
        return 1


def _api(runtime_api: str) -> ExtensionsApi:
    if not read_switch(os.environ, "LAMBDATRACE_INTERNAL"):
        return ExtensionsApi(runtime_api, NAME)
    from lambdatrace.agent.internal import InternalApi

    return InternalApi(runtime_api, NAME)


if __name__ == "__main__":
    sys.exit(main())
