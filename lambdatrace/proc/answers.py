"""Whether the runtime has answered, told by its sockets to the runtime API alone. Pure.

A runtime asks for the next invocation, is sent one, and sends nothing until it posts the answer;
then it asks again, in the same words as ever. So whatever it sends after an INVOKE is the answer,
unless it is just as long as the question; and one that has waited for a while after an INVOKE has
answered, however that went unseen.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.proc.sockets import Socket


# An invocation is with the runtime so long after the platform has told of it, at the latest (ns).
_DELIVERED_NS = 100_000_000


class Answers:
    """Waits for one answer after the other.

    Parameters
    ----------
    tick
        How exactly the kernel tells when something was last sent (ns).
    """

    def __init__(self, tick: int) -> None:
        self._tick = tick
        self._sent: dict[int, int] | None = None  # cookie -> bytes; None: not looked at yet
        self._invoked = self._looked = 0
        self.question: int | None = None  # bytes that asking takes; None: not known yet

    def invoked(self, moment: int) -> None:
        """The platform has told of an invocation (ns, the records' clock)."""
        self._invoked = self._looked = moment

    def look(self, sockets: Iterable[Socket], now: int) -> tuple[int, int] | None:
        """(not before, not after: ns) of the answer, once it is out.

        `sockets` are the runtime's to the runtime API, as they are at `now`.
        """
        looked, self._looked = self._looked, now
        sent: dict[int, int] = {}
        moments, answered = [], []
        waiting = True
        for each in sockets:
            if not each.bytes_out:
                continue
            sent[each.cookie] = each.bytes_out
            if each.segments_out == 1 and self.question is None:
                self.question = each.bytes_out  # its first
            moments.append(now - (each.sent_ago or 0) + self._tick)
            if self._is_answer(each, moments[-1]):
                answered.append(moments[-1])
            waiting = waiting and self._surely_waits(each)
        self._sent = sent
        if not answered and moments and waiting and now - self._invoked > _DELIVERED_NS:
            answered = moments
        return (looked, max(looked, min(now, *answered))) if answered else None

    def settle(self, sockets: Iterable[Socket]) -> None:
        """What is sent right after an answer, with no invocation in between, is none.

        It is its rest, if that was not all out, and the question.
        """
        for each in sockets:
            more = (each.bytes_out or 0) - (self._sent or {}).get(each.cookie, 0)
            if more > 0:
                if self.question is None:
                    self.question = more
                self._sent = {**(self._sent or {}), each.cookie: each.bytes_out or 0}

    def _is_answer(self, socket: Socket, moment: int) -> bool:
        if moment + self._tick < self._invoked:
            return False  # the one before was not all out when it was seen
        if self._sent is None:
            # In doubt it has answered: nobody is to wait for what has come.
            return socket.segments_out != 1 and waits(socket)
        more = (socket.bytes_out or 0) - self._sent.get(socket.cookie, 0)
        return more > 0 and more != self.question

    def _surely_waits(self, socket: Socket) -> bool:
        """Whether it has sent something and got nothing back yet."""
        later = (socket.sent_ago or 0) + self._tick < (socket.received_ago or 0)
        return not socket.bytes_in or later


def waits(socket: Socket) -> bool:
    """Whether what was last done on it is that something was sent; if in doubt, it is."""
    return (socket.sent_ago or 0) <= (socket.received_ago or 0)
