"""`lambdatrace doctor --function`: what the agent of a deployed function has found there."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from lambdatrace.cli.options import Source, chosen_store
from lambdatrace.errors import LambdatraceError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace.analysis.checkup import Check, StoreReport
    from lambdatrace.analysis.function_checkup import Invoked
    from lambdatrace.cli.environment import Environment
    from lambdatrace.layer.account import Account
    from lambdatrace.layer.plan import FunctionState
    from lambdatrace.model import Execution
    from lambdatrace.store.base import Store
    from lambdatrace.store.url import StoreUrl

_WAIT_S = 20.0  # until an execution that has ended is in the store
_POLL_S = 0.5
# The agent's lines in a function's log.
_MARK = "lambdatrace: "


def examine(
    environment: Environment,
    name: str,
    source: Source,
    reach: Callable[[Environment, Source], StoreReport],
    *,
    payload: str,
    invoke: bool,
    yes: bool,
) -> list[Check]:
    """All checks of a deployed function. `reach` reads from a store once.

    Raises LambdatraceError for what keeps it from looking: the account, the function, no answer to
    the question whether it may be invoked.
    """
    from lambdatrace.analysis.function_checkup import Deployed, function_checks
    from lambdatrace.cli.deploying import chosen_account
    from lambdatrace.layer import inventory
    from lambdatrace.layer.plan import is_own

    _check_json(payload)
    account = chosen_account(environment, source.region, source.profile)
    state = inventory.function_state(inventory.configuration(account, name))
    url, profile = _store_of(environment, state, source, account.region)
    if invoke:
        _ask(environment, name, yes=yes)
    store = reached = None
    if url is not None:
        reached = reach(environment, Source(store=str(url), profile=profile))
        store = _opened(url, profile) if not reached.error and reached.is_there else None
    invoked = (
        _invoked(account, name, payload, (reached and reached.skew_s) or 0.0) if invoke else None
    )
    began = time.monotonic()
    execution, report, written_ns = _found(store, name, invoked)
    keys_fit, expires, why = (None, None, "")
    if url is not None and reached is not None and not reached.error:
        keys_fit, expires, why = _table(account, url.table)
    deployed = Deployed(
        name=name,
        layer=next((layer.arn for layer in state.layers if is_own(layer.arn)), None),
        is_image=state.package_type == "Image",
        table="" if url is None else url.table,
        keys_fit=keys_fit,
        expires=expires,
        why_not_known=why,
        invoked=invoked,
        execution=execution,
        waited_s=time.monotonic() - began,
        report=report,
        written_ns=written_ns,
    )
    if store is not None:
        store.close()
    return function_checks(deployed, reached)


def _check_json(payload: str) -> None:
    """Raises UsageError for what Lambda would refuse."""
    import json

    try:
        json.loads(payload)
    except ValueError as error:
        raise UsageError(
            f"--payload is not JSON: {error}", "quote it as the shell wants"
        ) from error


def _store_of(
    environment: Environment, state: FunctionState, source: Source, region: str
) -> tuple[StoreUrl | None, str | None]:
    """The table that its agent writes to, or that was typed; None: it is told of none."""
    from lambdatrace.layer.plan import STORE_VARIABLE
    from lambdatrace.store.url import DYNAMODB, parse, with_region

    if source.store is not None or source.table is not None:
        url, profile = chosen_store(environment.environ, source)
    else:
        told = state.variables.get(STORE_VARIABLE, "")
        if not told.startswith(f"{DYNAMODB}:"):
            return None, source.profile
        url, profile = parse(told, environment.environ), source.profile
    if url.engine != DYNAMODB:
        raise UsageError(f"a function writes to DynamoDB, and not to {url}", "name its table")
    return (url if url.region else with_region(url, region)), profile


def _ask(environment: Environment, name: str, *, yes: bool) -> None:
    """Raises UsageError when nobody can be asked, LambdatraceError when the answer is no."""
    if yes:
        return
    if not environment.interactive:
        raise UsageError(
            f"{name} was not invoked: nobody can be asked",
            "its code would run: add --yes, or --no-invoke for the latest report that is there",
        )
    if not environment.confirm(f"invoke {name}? its code runs, with all that it does"):
        raise LambdatraceError(f"{name} was not invoked", "--no-invoke takes the latest report")


def _invoked(account: Account, name: str, payload: str, skew_s: float) -> Invoked:
    """Invoke it; times are on the store's clock, which this machine's is `skew_s` ahead of."""
    from lambdatrace.analysis.function_checkup import Invoked

    began = time.time() - skew_s
    answer = account.invoke(name, payload.encode())
    ended = time.time() - skew_s
    content = answer["Payload"].read()
    log = base64.b64decode(answer.get("LogResult") or "").decode("utf-8", "replace")
    return Invoked(
        request_id=str(answer["ResponseMetadata"].get("RequestId") or ""),
        error=_error(answer, content),
        began_ns=int(began * 1e9),
        ended_ns=int(ended * 1e9),
        agent_lines=tuple(
            line.partition(_MARK)[2] for line in log.splitlines() if line.startswith(_MARK)
        ),
    )


def _error(answer: Mapping[str, Any], content: bytes) -> str | None:
    """What Lambda says of a function that failed, on one line; its answer is nobody's business."""
    import json

    if not answer.get("FunctionError"):
        return None
    try:
        told = json.loads(content)
        return f"{told.get('errorType') or 'error'}: {told.get('errorMessage') or ''}".strip(": ")
    except (ValueError, AttributeError):
        return str(answer["FunctionError"])


def _opened(url: StoreUrl, profile: str | None) -> Store:
    from lambdatrace.store.dynamodb import open_table

    return open_table(url, profile)


def _found(
    store: Store | None, name: str, invoked: Invoked | None
) -> tuple[Execution | None, dict[str, Any] | None, int]:
    """(the invocation's execution, the latest report, when that was written)."""
    from lambdatrace import items as stored
    from lambdatrace.analysis.summary import read_execution

    if store is None:
        return None, None, 0
    execution = None
    until = time.monotonic() + _WAIT_S
    while invoked is not None and execution is None:
        for item in store.get(invoked.request_id):
            if item.kind == stored.SUMMARY:
                execution = read_execution(stored.read_summary(item))
        if execution is None:
            if time.monotonic() >= until:
                break
            time.sleep(_POLL_S)
    reports = [each for each in store.get(stored.report_key(name)) if each.kind == stored.REPORT]
    if not reports:
        return execution, None, 0
    latest = max(reports, key=lambda each: each.timestamp_nano)
    return execution, stored.read_report(latest), latest.timestamp_nano


def _table(account: Account, table: str) -> tuple[bool | None, bool | None, str]:
    """(whether its keys fit, whether it forgets what has expired, why that is not known)."""
    from lambdatrace.layer.inventory import look_at_table

    try:
        found = look_at_table(account, table)
    except (LambdatraceError, StoreError) as error:
        return None, None, error.message
    return (None, None, "") if found is None else (found.fits, found.expires, "")
