"""What became of a connection or a namelookup, in words."""

from __future__ import annotations

from lambdatrace.cli.views.styled import Text
from lambdatrace.cli.views.text import BAD, DIM, GOOD, WARNING, safe
from lambdatrace.model import Connection, Namelookup, Outcome

_STYLES = {Outcome.OK: GOOD, Outcome.OPEN: "", Outcome.GONE: DIM, Outcome.CONNECTING: WARNING}
_UNREMARKABLE = frozenset({Outcome.OK, Outcome.OPEN, Outcome.GONE})
_ADDRESSES_SHOWN = 2


def connection_outcome(connection: Connection) -> Text:
    """`ok`, `refused`, `TLS: unknown_ca`, `open, resent 2`."""
    text = Text(str(connection.outcome), style=_STYLES.get(connection.outcome, BAD))
    if connection.outcome is Outcome.FAILED and connection.error:
        text.append(" ").append_text(safe(connection.error))
    if connection.tls_error is not None:
        failed = safe(f"TLS: {connection.tls_error}", BAD)
        # How the socket fared says little then, or the same.
        if connection.outcome in _UNREMARKABLE or connection.tls_error == connection.outcome:
            text = failed
        else:
            text.append(", ").append_text(failed)
    elif _is_shaking(connection) and connection.outcome is Outcome.OPEN:
        text = Text("TLS: not done", style=WARNING)
    if connection.retransmits:
        text.append(f", resent {connection.retransmits}", style=WARNING)
    if connection.stale:
        text.append(", stale", style=WARNING)
    if connection.before:
        text.append(", before", style=DIM)
    return text


def _is_shaking(connection: Connection) -> bool:
    return connection.tls_started_ns is not None and connection.tls_ns is None


def lookup_answer(lookup: Namelookup, is_bad: bool = True) -> Text:
    """The addresses, `NXDOMAIN`, `unanswered, asked 2 times`; without an address it may be bad."""
    if lookup.answer is None:
        text = Text("unanswered", style=BAD)
    elif lookup.answer != "NOERROR":
        text = safe(lookup.answer, BAD if is_bad else DIM)
    elif lookup.addresses:
        text = safe(", ".join(lookup.addresses[:_ADDRESSES_SHOWN]), GOOD)
        if len(lookup.addresses) > _ADDRESSES_SHOWN:
            text.append(f" +{len(lookup.addresses) - _ADDRESSES_SHOWN}", style=DIM)
    else:
        text = Text("no address", style=DIM)
    if lookup.attempts > 1:
        text.append(f", asked {lookup.attempts} times", style=WARNING)
    if lookup.truncated:
        text.append(", truncated", style=WARNING)
    return text
