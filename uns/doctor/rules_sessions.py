"""Rules about a message among those before it: seq, bdSeq, births before data, names and aliases of the births."""

from __future__ import annotations

from uns.doctor.memory import DeviceMemory, NodeMemory
from uns.doctor.reading import RawMetric
from uns.doctor.sight import BIRTHS, COMMANDS, DATA, STATE, Check, Outcome, Rule, Sight
from uns.sparkplug.datatypes import VALUE_FIELD
from uns.sparkplug.metrics import REBIRTH
from uns.sparkplug.sequences import SEQ_MODULUS, next_bd_seq

__all__ = [
    "LATE_WILLS_MAX",
    "REBIRTH_ANSWER_S",
    "REBIRTH_GRACE_NS",
    "SESSION_RULES",
    "STATE_SKEW_MS_MAX",
    "death_of_another",
    "is_doubtful",
    "rebirth_overdue",
]

_S = 1_000_000_000
REBIRTH_GRACE_NS = 2 * _S  # DATA that was on its way when the request came
REBIRTH_ANSWER_S = 30  # a node that has not been born again by then does not do it
STATE_SKEW_MS_MAX = 5 * 60 * 1000
LATE_WILLS_MAX = 8  # connections back whose Wills may still be on their way
_STATE_MS_MIN = 1_000_000_000_000
_MS = 1_000_000

# ── seq ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _seq_next(sight: Sight) -> Outcome:
    if sight.node is None or sight.raw is None or sight.raw.seq is None or sight.raw.seq >= SEQ_MODULUS:
        return None
    step = sight.node.step(sight.raw.seq)
    if sight.kind == "NBIRTH" or step.kind == "first":
        return None
    if step.kind == "next":
        return True
    expected = (step.before + 1) % SEQ_MODULUS
    return {
        "gap": f"seq {sight.raw.seq} after {step.before}: {step.missing} missing, {expected} first",
        "again": f"seq {sight.raw.seq} again",
        "late": f"seq {sight.raw.seq} after {step.before}: out of order",
    }[step.kind]


# ── bdSeq ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bd_seq_grows(sight: Sight) -> Outcome:
    """A CONNECT that was never born cannot be seen, so only what no count of connects explains is broken."""
    node, now = sight.node, sight.bd_seq
    if node is None or now is None or not node.died_since_birth or node.connect_bd_seq is None:
        return None
    before = node.connect_bd_seq
    if now == before:
        return f"bdSeq {now} again, after the NDEATH of bdSeq {before}"
    return True if now == next_bd_seq(before) else None


def _same_on_rebirth(sight: Sight) -> Outcome:
    node, now = sight.node, sight.bd_seq
    if node is None or now is None or node.rebirth_asked_ns is None or node.died_since_birth or node.bd_seq is None:
        return None
    if sight.now_ns - node.rebirth_asked_ns > REBIRTH_ANSWER_S * _S:
        return None
    return True if now == node.bd_seq else f"bdSeq {now} after a rebirth request, {node.bd_seq} before it"


def _death_matches(sight: Sight) -> Outcome:
    """The late Will of an earlier session is right, too: it has the bdSeq of an earlier NBIRTH, or of its CONNECT."""
    node, now = sight.node, sight.bd_seq
    if node is None or now is None or node.life != "alive" or node.bd_seq is None:
        return None
    if now == node.bd_seq:
        return True
    if now in node.bd_seqs or now == node.connect_bd_seq or is_doubtful(now, node.bd_seq):
        return None
    return death_of_another(now, node.bd_seq)


def is_doubtful(bd_seq: int, born_as: int) -> bool:
    """Whether an NDEATH may be the late Will of a connection shortly before, which was not born or not seen."""
    return bd_seq < SEQ_MODULUS and 1 <= (born_as - bd_seq) % SEQ_MODULUS <= LATE_WILLS_MAX


def death_of_another(bd_seq: int, born_as: int) -> str:
    """What is said of an NDEATH that no session has."""
    return f"NDEATH of bdSeq {bd_seq}, NBIRTH of bdSeq {born_as}"


def _one_node(sight: Sight) -> Outcome:
    """Two clients with one name show as two series of bdSeq that take turns, and neither dies in between."""
    node, now = sight.node, sight.bd_seq
    if node is None or now is None or node.bd_seq is None:
        return None
    turns = [*node.turns, now][-4:]
    if len(turns) == 4 and turns[0] == turns[2] != turns[1] == turns[3]:
        return f"bdSeq {', '.join(map(str, turns))} in turns"
    return True


# ── births first ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _born_before(sight: Sight) -> Outcome:
    node = sight.node
    if node is None or node.life == "unknown":
        return None
    return True if node.life == "alive" else f"{sight.kind} after NDEATH, without an NBIRTH"


def _device_born_before(sight: Sight) -> Outcome:
    """Data of a device needs its DBIRTH in this session."""
    born = _born_before(sight)
    if born is not True or sight.kind != "DDATA" or sight.device is None:
        return born
    return True if sight.device.life == "alive" else "DDATA of a device without a DBIRTH since the NBIRTH"


def _births_together(sight: Sight) -> Outcome:
    """After a rebirth, the devices that were there come back before any data."""
    node = sight.node
    if node is None or node.life != "alive" or sight.device_id not in node.awaited:
        return None
    if node.data_since_birth == 0:
        return True
    return f"{node.data_since_birth} DATA messages between the NBIRTH and this DBIRTH"


def _stops_for_rebirth(sight: Sight) -> Outcome:
    node = sight.node
    if node is None or node.rebirth_asked_ns is None or node.life != "alive":
        return None
    if sight.kind == "NBIRTH":
        return True
    waited = _sent_ns(sight, node) - node.rebirth_asked_ns
    if waited <= REBIRTH_GRACE_NS or waited > REBIRTH_ANSWER_S * _S:
        return None
    return f"{sight.kind} {waited / _S:.1f} s after the rebirth request, no NBIRTH yet"


def _sent_ns(sight: Sight, node: NodeMemory) -> int:
    """When it was sent, by its stamp and the clock of its node; a slow link is no disobedience."""
    if sight.raw is None or sight.raw.timestamp is None or node.skew_ms_max is None:
        return sight.now_ns
    return min(sight.now_ns, (sight.raw.timestamp - node.skew_ms_max) * _MS)


def _answers_rebirth(sight: Sight) -> Outcome:
    """The other half, no answer at all, is found by the timer."""
    node = sight.node
    return None if node is None or node.rebirth_asked_ns is None or node.died_since_birth else True


# ── names and aliases ────────────────────────────────────────────────────────────────────────────────────────────────


def _aliases_unique(sight: Sight) -> Outcome:
    node = sight.node
    taken: dict[int, str] = {}
    holders: dict[int, DeviceMemory] = {}
    if sight.kind == "DBIRTH" and node is not None and node.life == "alive":
        holders = node.alias_holders
    for metric in sight.metrics:
        if metric.alias is None:
            continue
        if metric.alias in taken:
            return f"alias {metric.alias} of {taken[metric.alias]} and {metric.label()}"
        taken[metric.alias] = metric.label()
        other = holders.get(metric.alias)
        if other is not None and other is not sight.device:
            return f"alias {metric.alias} of {metric.label()}, and of {other.aliases[metric.alias]!r} of {other.label}"
    return True if taken else None


def _alias_alone(sight: Sight) -> Outcome:
    kept: Outcome = None
    known = _known(sight)
    for metric in sight.metrics:
        if metric.alias is not None:
            if metric.name is not None:
                return f"{metric.label()} with alias {metric.alias}"
            kept = True
        elif metric.name is not None and known is not None and metric.name != REBIRTH:  # always asked for by name
            entry = known.metrics.get(metric.name)
            if entry is not None and entry.alias is not None:
                return f"{metric.label()} by name; the birth gave it alias {entry.alias}"
    return kept


def _known(sight: Sight) -> DeviceMemory | None:
    """The births that a DATA or CMD goes by, where we have them whole."""
    if sight.node is None or sight.node.life != "alive" or sight.device is None:
        return None
    return sight.device if sight.device.names_known and sight.device.life == "alive" else None


def _in_birth(sight: Sight) -> Outcome:
    known = _known(sight)
    if known is None:
        return None
    named = [metric for metric in sight.metrics if metric.name or metric.alias is not None]
    for metric in named:
        if known.find(metric) is None:
            return f"{metric.label()} is not in the birth"
    return True if named else None


def _command_fits(sight: Sight) -> Outcome:
    known = _known(sight)
    kept: Outcome = None
    for metric in () if known is None else sight.metrics:
        found = known.find(metric) if known is not None else None
        if found is None or found[1].datatype is None or metric.is_null:
            continue
        if (misfit := _misfit(metric, found[1].datatype)) is not None:
            return f"{metric.label()}: {misfit}"
        kept = True
    return kept


def _misfit(metric: RawMetric, datatype: int) -> str | None:
    """What the value is in place of its type. Any integer field does for any integer type: peers differ there."""
    if metric.value is None:
        return "no value"
    wanted = VALUE_FIELD[datatype] if datatype < len(VALUE_FIELD) else ""
    whole = {"int_value", "long_value"}
    if not wanted or metric.value.field == wanted or {metric.value.field, wanted} <= whole:
        return None
    return f"its value in {metric.value.field}; datatype {datatype} of the birth goes in {wanted}"


def _device_unique(sight: Sight) -> Outcome:
    """A DBIRTH of a device that is alive, with no NBIRTH and no DDEATH in between: two senders, or half a rebirth."""
    node, device = sight.node, sight.device
    if node is None or device is None or node.life != "alive":
        return None
    if device.life == "alive" and sight.device_id not in node.awaited and device.names_known and sight.whole:
        names = {metric.name for metric in sight.metrics if metric.name}
        if names and not names & device.metrics.keys():
            return "a second DBIRTH with wholly other metrics, no DDEATH and no NBIRTH between"
    return True


# ── STATE ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _state_form(*, online: bool) -> Check:
    """What says neither counts as a broken birth: an edge node waits for it in vain."""

    def check(sight: Sight) -> Outcome:
        state = sight.state
        if state is None or (state.online is not False) is not online:
            return None
        return state.problem or True

    return check


def _state_now(sight: Sight) -> Outcome:
    """A death has the time of its CONNECT (as a Will) or the present one."""
    state, host = sight.state, sight.host
    if state is None or state.online is not False or state.timestamp is None or sight.retain:
        return None
    if state.timestamp < _STATE_MS_MIN:
        return f"timestamp {state.timestamp}"
    if host is None or not host.online_times:
        return None
    if state.timestamp in host.online_times:
        return True
    if state.timestamp < max(host.online_times):
        return None  # the late Will of an earlier connection
    # Against its own clock, where we saw it come online: whose clock is right is not ours to say.
    off = state.timestamp - sight.now_ns // _MS - (host.skew_ms or 0)
    return True if abs(off) <= STATE_SKEW_MS_MAX else f"timestamp {state.timestamp}, {off / 1000:+.0f} s from now"


def _one_host(sight: Sight) -> Outcome:
    state, host = sight.state, sight.host
    if state is None or host is None or not state.online or state.timestamp is None or sight.retain:
        return None
    times = list(host.online_times)
    if not times:
        return None
    if state.timestamp != times[-1] and state.timestamp in times[:-1]:
        return f"online with timestamps {', '.join(map(str, [*times, state.timestamp][-4:]))} in turns"
    return True


_SEQ_STEP = (
    "a gap is loss on the way, or seq taken by a message that was not sent; look at the node's log and the broker's "
    "dropped messages, and at two clients with one name"
)
_BDSEQ_STEP = "count one bdSeq for each CONNECT, keep it over restarts, and build the Will anew with it"
_BIRTH_STEP = "announce every metric in the birth before its first value; a new one needs a rebirth"
_STATE_STEP = 'publish {"online": true, "timestamp": ms} at QoS 1, retained, and the same with false as the Will'
_STATE_JSON = "JSON with online (true or false) and timestamp (ms, UTC)"
_ORDER_STEP = "send NBIRTH, then every DBIRTH, then data"

SESSION_RULES: tuple[Rule, ...] = (
    Rule("seq.next", (*BIRTHS, *DATA, "DDEATH"), _seq_next, "one more than in the message before", _SEQ_STEP),
    Rule("bdseq.grows", ("NBIRTH",), _bd_seq_grows, "one more than in the CONNECT before", _BDSEQ_STEP),
    Rule("bdseq.rebirth", ("NBIRTH",), _same_on_rebirth, "the bdSeq of the CONNECT, unchanged", _BDSEQ_STEP),
    Rule("bdseq.death", ("NDEATH",), _death_matches, "the bdSeq of the NBIRTH", _BDSEQ_STEP),
    Rule(
        "node.unique",
        ("NBIRTH",),
        _one_node,
        "one series of bdSeq",
        "look for two gateways with this group and edge node id, and rename one",
    ),
    Rule("device.unique", ("DBIRTH",), _device_unique, "one device for each id", "rename one of the two devices"),
    Rule("birth.first", (*DATA, "DDEATH"), _device_born_before, "a birth first", _ORDER_STEP),
    Rule("birth.node_first", ("DBIRTH",), _born_before, "an NBIRTH first", _ORDER_STEP),
    Rule("birth.together", ("DBIRTH",), _births_together, "births before data", _ORDER_STEP),
    Rule(
        "rebirth.stops", (*DATA, "NBIRTH"), _stops_for_rebirth, "no DATA until the births", "stop DATA at the request"
    ),
    Rule(
        "rebirth.answered",
        ("NBIRTH",),
        _answers_rebirth,
        f"NBIRTH and DBIRTHs within {REBIRTH_ANSWER_S} s",
        f"answer NCMD {REBIRTH!r} with all births; subscribe to NCMD before the NBIRTH; see that the access list of "
        "the broker lets it read NCMD",
    ),
    Rule("alias.unique", BIRTHS, _aliases_unique, "an alias once in a node and its devices", "count aliases per node"),
    Rule(
        "alias.alone",
        (*DATA, *COMMANDS),
        _alias_alone,
        "the alias without the name",
        "leave the name out where the birth gave an alias",
    ),
    Rule("data.in_birth", DATA, _in_birth, "metrics of the birth only", _BIRTH_STEP),
    Rule("command.in_birth", COMMANDS, _in_birth, "names of the birth", "write only what the node or device announced"),
    Rule("command.fits", COMMANDS, _command_fits, "a value of the metric's type", "encode by the birth's datatype"),
    Rule(
        "state.birth",
        (STATE,),
        _state_form(online=True),
        _STATE_JSON,
        _STATE_STEP,
        retained=True,
    ),
    Rule(
        "state.death",
        (STATE,),
        _state_form(online=False),
        _STATE_JSON,
        _STATE_STEP,
        retained=True,
    ),
    Rule("state.death_time", (STATE,), _state_now, "the time of the CONNECT, or now", _STATE_STEP),
    Rule("host.unique", (STATE,), _one_host, "one host for each id", "look for two hosts with this id; rename one"),
)


def rebirth_overdue(node: NodeMemory, now_ns: int) -> str | None:
    """What the timer finds: a request that nobody answered, of a node that is there."""
    if node.rebirth_asked_ns is None or now_ns - node.rebirth_asked_ns < REBIRTH_ANSWER_S * _S:
        return None
    return f"no NBIRTH {REBIRTH_ANSWER_S} s after the request" if node.life == "alive" else None
