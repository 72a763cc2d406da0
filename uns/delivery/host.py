"""The host's half of the delivery protocol: count what is safe, answer marks.

Per edge node the host knows the session it counts for, the last mark ``last_n`` with its answer, and how many DATA
messages it took since, with the sum of the digests of their payloads. A new mark is ok if it is the next one, not a
repetition, of a session whose births are held, and says exactly that number and that sum. After any new mark counting
starts again: whatever went wrong costs one resend and never leaves a session stuck.

An equal sum is proof by itself: the messages taken are those that were sent, wherever the host began to listen and
in whatever order they came. A count alone, all that gateways of before the digest send, is proof only where nothing
overtakes: it can fall short of what was sent, but a message of the window before may make up for one of this window.
"""

from __future__ import annotations

import msgspec

from uns.delivery.messages import DIGEST_MODULUS, Confirm, Mark
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["HostDelivery"]

MARK_VERSION = 1


class _Count(msgspec.Struct):
    session: str
    last_n: int = 0
    answer: bool = False  # to last_n
    messages: int = 0  # since last_n
    digest: int = 0  # of their payloads
    late_messages: int = 0  # beside them: that came twice, or behind what was sent after them
    late_digest: int = 0


class HostDelivery:
    """Answers the marks of all edge nodes that name this host.

    Call in arrival order: :meth:`count` for each DATA message that is written to the log or finally rejected,
    :meth:`receive_mark` for each mark. Publish an answer only after the commit that holds everything counted before
    it; if that commit fails, drop the answers and call :meth:`forget_all`.
    """

    def __init__(self, host_id: str, *, edge_nodes_max: int = 10_000) -> None:
        self.host_id = host_id
        self._edge_nodes_max = edge_nodes_max
        self._counts: dict[EdgeNodeDescriptor, _Count] = {}
        self.marks_confirmed = 0
        self.marks_refused = 0
        self.marks_mixed = 0  # of the refused: as many messages as were sent, but not the same
        self.marks_ignored = 0  # for another host, of another version, or beyond edge_nodes_max

    def receive_birth(self, edge_node: EdgeNodeDescriptor, session_id: str) -> None:
        """Take an NBIRTH. The first one of a session starts its count; a rebirth changes nothing."""
        count = self._counts.get(edge_node)
        if count is None and len(self._counts) >= self._edge_nodes_max:
            return
        if count is None or count.session != session_id:
            self._counts[edge_node] = _Count(session_id)

    def count(
        self, edge_node: EdgeNodeDescriptor, session_id: str, messages: int = 1, *, digest: int, late: bool = False
    ) -> None:
        """Count DATA of ``session_id`` whose samples are committed (or are in the commit under way) or rejected.

        ``digest`` is the sum of :func:`~uns.delivery.messages.digest_of` over the payloads, as they came. ``late``:
        they came twice, or behind what was sent after them. No count may rest on those, but a digest may: where one
        set of what was taken has the sum of what was sent, all that was sent is among it.
        """
        count = self._counts.get(edge_node)
        if count is None or count.session != session_id:
            return
        if late:
            count.late_messages += messages
            count.late_digest = (count.late_digest + digest) % DIGEST_MODULUS
        else:
            count.messages += messages
            count.digest = (count.digest + digest) % DIGEST_MODULUS

    def receive_mark(self, edge_node: EdgeNodeDescriptor, mark: Mark, *, session_held: bool) -> Confirm | None:
        """Answer a mark; None for a mark that is not ours to answer.

        ``session_held``: the births of ``mark.session`` are held, so that DATA before the mark could be decoded.
        """
        count = self._counts.get(edge_node)
        if (
            mark.host != self.host_id
            or mark.v != MARK_VERSION
            or (count is None and len(self._counts) >= self._edge_nodes_max)
        ):
            self.marks_ignored += 1
            return None
        known = count is not None and count.session == mark.session
        if count is None or not known:
            count = self._counts[edge_node] = _Count(mark.session)
        elif mark.n == count.last_n:
            return Confirm(session=mark.session, n=mark.n, ok=count.answer)
        expected = known and session_held and not mark.repeat and mark.n == count.last_n + 1
        same_number = expected and mark.messages == count.messages
        ok = same_number and mark.digest in {None, count.digest}
        if expected and not ok and mark.digest is not None:
            with_late = count.messages + count.late_messages, (count.digest + count.late_digest) % DIGEST_MODULUS
            ok = with_late == (mark.messages, mark.digest)
        self.marks_mixed += same_number and not ok
        # Any other number than last_n is a new mark, a lower one too: a forged high one must not silence the session.
        self._counts[edge_node] = _Count(mark.session, last_n=mark.n, answer=ok)
        if ok:
            self.marks_confirmed += 1
        else:
            self.marks_refused += 1
        return Confirm(session=mark.session, n=mark.n, ok=ok)

    def forget(self, edge_node: EdgeNodeDescriptor) -> None:
        """Know nothing of this node's session: the host does not keep it any longer."""
        self._counts.pop(edge_node, None)

    def forget_all(self) -> None:
        """Know nothing of any session: at each CONNECT, and when a commit failed."""
        self._counts.clear()
