"""Which executions there are: the platform's INVOKE events say so, and nobody else.

Whatever runs in an environment can speak to the runtime API's port, or to something of its own that
looks like it. So what the kernel saw of the runtime API is believed only as far as the platform has
announced it; the rest is refused, counted and told.
"""

from __future__ import annotations

from lambdatrace.agent.attribution import CRASH, OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.agent.attribution import Cut

MAX_ANNOUNCED = 64
# Of one branch. A runtime has one at most that overtook its own INVOKE event.
MAX_HELD = 4


class Authority:
    """Request ids that INVOKE events told of, and executions whose event has not come yet.

    `is_told` false: no event tells of any (Lambda Managed Instances), and what the kernel saw is
    believed; that an id is stored once, unless it has failed, is all that can be held then.
    """

    def __init__(self, *, is_told: bool = True) -> None:
        self._is_told = is_told
        # Request id -> the branch whose execution of it is stored; None: none yet.
        self._announced: dict[str, int | None] = {}
        self._held: list[Cut] = []
        self._refused = 0

    def know(self, request_ids: Iterable[str]) -> None:
        """The worker before this one was told of these."""
        for request_id in request_ids:
            self._announced.setdefault(request_id, None)
        while len(self._announced) > MAX_ANNOUNCED:
            del self._announced[next(iter(self._announced))]

    def announce(self, request_id: str) -> Cut | None:
        """An INVOKE event has come; returns the execution that overtook it.

        Of an id that is stored already it is another one: a failed asynchronous invocation is
        tried again under its id, mostly in the environment that is still warm from the first.
        """
        self._announced.pop(request_id, None)
        self.know((request_id,))
        mine = [cut for cut in self._held if cut.request_id == request_id]
        self._held = [cut for cut in self._held if cut.request_id != request_id]
        self._refused += len(mine[1:])
        return mine[0] if mine else None

    def admits(self, cut: Cut) -> bool:
        """Whether an execution that has ended may be stored; it is, then.

        One of an unknown id is held until its event comes, and so is a second one of an id, if it
        is from where the first one came; from anywhere else it is refused.
        """
        if not self._is_told:
            self.know((cut.request_id,))
        stored = self._announced.get(cut.request_id)
        may_be_early = self._is_told and stored == cut.branch
        if cut.request_id not in self._announced or may_be_early:
            of_branch = [held for held in self._held if held.branch == cut.branch]
            if len(of_branch) >= MAX_HELD:
                self._held.remove(of_branch[0])
                self._refused += 1
            self._held.append(cut)
            return False
        if stored is not None:
            self._refused += 1
            return False
        # Where no event tells of a retry: only what has failed is tried again.
        may_be_retried = not self._is_told and cut.status != OK
        self._announced[cut.request_id] = None if may_be_retried else cut.branch
        return True

    def vouch_for_crashed(self) -> Cut | None:
        """The platform says that an invocation has failed: returns the one it has not told of.

        A runtime that crashes within a millisecond or two gets its extensions a SHUTDOWN in place
        of the INVOKE (seen under AWS's emulator, once in 50 times). If several have crashed that
        nobody was told of, somebody has made one up, and none is believed.
        """
        crashed = [cut for cut in self._held if cut.status == CRASH]
        return self.announce(crashed[0].request_id) if len(crashed) == 1 else None

    def refuse_held(self) -> None:
        """No event will come any more."""
        self._refused += len(self._held)
        self._held.clear()

    def take_refused(self) -> int:
        """How many have been refused since the last call."""
        refused, self._refused = self._refused, 0
        return refused
