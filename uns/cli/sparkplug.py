"""``uns sparkplug``: any Sparkplug B payload in and out of a readable form, without a broker."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uns.cli.options import JsonOption, standard_input
from uns.cli.output import EXIT_FINDINGS, print_document, print_line, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uns.errors import RemoteProtocolError
    from uns.sparkplug.aliases import AliasTable
    from uns.sparkplug.documents import MetricDocument, PayloadDocument
    from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["register"]

DECODE_HELP = """Show what a Sparkplug B payload says.

Births give the aliases of DATA their names and types. Compressed payloads are inflated, up to 1 MiB.

Examples:

  uns sparkplug decode nbirth.bin

  uns sparkplug decode ddata.bin --births nbirth.bin --births dbirth.bin --json

  mosquitto_sub -t 'spBv1.0/+/NDATA/#' -C 1 -F %x | uns sparkplug decode - --hex

  mosquitto_sub -t 'spBv1.0/#' -F '%t %x' | uns sparkplug decode --hex --lines
"""
ENCODE_HELP = """Make a payload of its JSON form, as `uns sparkplug decode --json` prints it.

The form is checked; what it says is not held to what an edge node may send, so that odd payloads can be made for tests.

Examples:

  uns sparkplug encode rebirth.json > rebirth.bin

  uns sparkplug decode ddata.bin --json | uns sparkplug encode - --hex

  uns sparkplug encode rebirth.json | mosquitto_pub -t spBv1.0/plant/NCMD/line1 -s
"""
INPUT_BYTES_MAX = 16 << 20  # of any one file or line: many times what a payload may have, in the widest form
SHOWN_CHARACTERS_MAX = 100
NODES_MAX = 1000  # whose births are kept with --lines; of more the oldest are forgotten
STATE_PREFIX = "spBv1.0/STATE/"  # JSON, the one message that is no payload

_TAGS = (b"\x08", b"\x12", b"\x18")
_TEXT = re.compile(rb"[0-9A-Za-z+/=\s]+")

HexOption = Annotated[bool, typer.Option("--hex", help="Payloads as hexadecimal text instead of raw bytes.")]
Base64Option = Annotated[bool, typer.Option("--base64", help="Payloads as base64 text instead of raw bytes.")]


def register(app: typer.Typer) -> None:
    """Add ``uns sparkplug``."""
    sparkplug = typer.Typer(no_args_is_help=True, help="Sparkplug B payloads: read and make them.")
    sparkplug.command("decode", help=DECODE_HELP)(decode)
    sparkplug.command("encode", help=ENCODE_HELP)(encode)
    app.add_typer(sparkplug, name="sparkplug")


def decode(
    file: Annotated[str, typer.Argument(help="The payload; - is standard input.", show_default=False)] = "-",
    *,
    births: Annotated[
        list[Path] | None,
        typer.Option(
            "--births", help="An NBIRTH or DBIRTH of the same session, raw or in the same form; may be repeated."
        ),
    ] = None,
    hexadecimal: HexOption = False,
    in_base64: Base64Option = False,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="A payload on each line, shown as it comes; a topic before it gives DATA the births that went by.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """See DECODE_HELP."""
    import msgspec

    from uns.sparkplug.documents import document_to_json

    text_form = _text_form(hexadecimal=hexadecimal, in_base64=in_base64)
    table = _table_of(births or [], text_form)
    if lines:
        _decode_lines(file, text_form, table, as_json=as_json)
        return
    content = _read(file)
    if text_form:
        _refuse_several(content, text_form, file)
    payload = _payload(content, text_form, _named(file))
    document, forgiven = _document(payload, table, _named(file))
    if as_json:
        print_document(msgspec.Raw(document_to_json(document)))
    else:
        _show(document, len(payload), forgiven)
        _hint(document, has_births=bool(births))


def _decode_lines(file: str, text_form: str, births: AliasTable, *, as_json: bool) -> None:
    """One payload after the other; one that cannot be read is told, and the next one is read."""
    import msgspec

    from uns.errors import ConfigurationError, UnsError
    from uns.sparkplug.documents import document_to_json

    if not text_form:
        raise ConfigurationError("--lines of raw bytes", expected="--hex or --base64 with it")
    seen = _Births(births)
    failed = False
    for number, line in enumerate(_lines(file), start=1):
        topic, _, text = line.rstrip(b"\r\n").decode(errors="replace").rpartition(" ")
        if not line.strip():
            continue
        where = f"{_named(file)}: line {number}"
        try:
            payload = _payload(text.encode(), text_form, where)
            if topic.startswith(STATE_PREFIX):
                _show_state(topic, payload, as_json=as_json)
                continue
            document, forgiven = _document(payload, seen.table_of(topic, payload), where)
        except UnsError as error:
            error.where = error.where or where
            report(error)
            failed = True
            continue
        if as_json:
            shown = msgspec.Raw(document_to_json(document))
            print_line({"topic": topic, "payload": shown} if topic else shown)
        else:
            if topic:
                print(topic)
            _show(document, len(payload), forgiven)
            sys.stdout.flush()
    if failed:
        raise typer.Exit(EXIT_FINDINGS)


def _show_state(topic: str, payload: bytes, *, as_json: bool) -> None:
    from uns.sparkplug.state import decode_state

    state = decode_state(payload)
    if as_json:
        print_line({"topic": topic, "state": {"online": state.online, "timestamp": state.timestamp}})
    else:
        print(f"{topic}\n{'online' if state.online else 'offline'} · {_time(state.timestamp)}", flush=True)


class _Births:
    """The births that went by, by edge node: what gives DATA on the lines after them its names and types."""

    def __init__(self, given: AliasTable) -> None:
        self._given = given
        self._tables: dict[EdgeNodeDescriptor, AliasTable] = {}

    def table_of(self, topic: str, payload: bytes) -> AliasTable:
        """The table for a payload on that topic; a birth is taken in first."""
        from uns.errors import RemoteProtocolError
        from uns.sparkplug.aliases import AliasTable
        from uns.sparkplug.topics import DeviceTopic, MessageType, NodeTopic, parse_topic

        try:
            parsed = parse_topic(topic)
        except RemoteProtocolError:
            return self._given
        if not isinstance(parsed, NodeTopic | DeviceTopic):
            return self._given
        node = parsed.edge_node
        if parsed.message_type is MessageType.NBIRTH:
            self._tables.pop(node, None)
        if parsed.message_type in {MessageType.NBIRTH, MessageType.DBIRTH}:
            if node not in self._tables and len(self._tables) >= NODES_MAX:
                self._tables.pop(next(iter(self._tables)))
            _take_birth(self._tables.setdefault(node, AliasTable()), payload)
        return self._tables.get(node, self._given)


def encode(
    file: Annotated[str, typer.Argument(help="The JSON form; - is standard input.", show_default=False)] = "-",
    output: Annotated[Path | None, typer.Option("--output", help="Write here instead of to standard output.")] = None,
    hexadecimal: HexOption = False,
    in_base64: Base64Option = False,
) -> None:
    """See ENCODE_HELP."""
    from uns.errors import ConfigurationError, LocalProtocolError
    from uns.sparkplug import codec
    from uns.sparkplug.documents import document_from_json

    text_form = _text_form(hexadecimal=hexadecimal, in_base64=in_base64)
    try:
        payload = codec.encode_document(document_from_json(_some(_read(file), _named(file))))
    except LocalProtocolError as error:  # here the caller is a person
        where = f"{_named(file)}: {error.where}" if error.where else _named(file)
        raise ConfigurationError(error.what, where=where, expected=error.expected, next_step=error.next_step) from error
    written = {"": payload, "hex": payload.hex().encode() + b"\n", "base64": base64.b64encode(payload) + b"\n"}[
        text_form
    ]
    if output is not None:
        try:
            output.write_bytes(written)
        except OSError as error:
            raise ConfigurationError(f"cannot write: {error.strerror}", where=str(output)) from error
        return
    if not text_form and sys.stdout.isatty():
        raise ConfigurationError("a payload is bytes, and this is a terminal", next_step="add --hex or --output FILE")
    sys.stdout.buffer.write(written)
    sys.stdout.buffer.flush()


# ── what comes in ────────────────────────────────────────────────────────────────────────────────────────────────


def _text_form(*, hexadecimal: bool, in_base64: bool) -> str:
    from uns.errors import ConfigurationError

    if hexadecimal and in_base64:
        raise ConfigurationError("--hex and --base64 together", expected="one of them")
    return "hex" if hexadecimal else "base64" if in_base64 else ""


def _read(file: str) -> bytes:
    from uns.errors import ConfigurationError

    try:
        if file == "-":
            content = standard_input().read(INPUT_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(INPUT_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read: {error.strerror}", where=file, next_step="name a file, or - for standard input"
        ) from error
    if len(content) > INPUT_BYTES_MAX:
        raise ConfigurationError("too large", where=_named(file), expected=f"at most {INPUT_BYTES_MAX} bytes")
    return content


def _lines(file: str) -> Iterator[bytes]:
    """Line by line, as they come."""
    from uns.errors import ConfigurationError

    with contextlib.ExitStack() as stack:
        try:
            stream = standard_input() if file == "-" else stack.enter_context(Path(file).open("rb"))
            while line := stream.readline(INPUT_BYTES_MAX + 1):
                if len(line) > INPUT_BYTES_MAX:
                    raise ConfigurationError(
                        "a line that is too long", where=_named(file), expected=f"at most {INPUT_BYTES_MAX} bytes"
                    )
                yield line
        except OSError as error:
            raise ConfigurationError(
                f"cannot read: {error.strerror}", where=file, next_step="name a file, or - for standard input"
            ) from error


def _payload(content: bytes, text_form: str, where: str) -> bytes:
    from uns.errors import ConfigurationError

    _some(content.strip() if text_form else content, where)
    packed = b"".join(content.split())
    try:
        if text_form == "hex":
            return binascii.unhexlify(packed)
        if text_form == "base64":
            return base64.b64decode(packed, validate=True)
    except ValueError as error:
        raise ConfigurationError(
            f"no {text_form} text: {_short(content[:40].decode(errors='replace'))}",
            where=where,
            expected="pairs of 0 to 9, a to f"
            if text_form == "hex"
            else "A to Z, a to z, 0 to 9, +, / and = at its end",
            next_step="leave the option out if these are raw bytes" if not _TEXT.fullmatch(content) else "",
        ) from error
    return content


def _some(content: bytes, where: str) -> bytes:
    from uns.errors import ConfigurationError

    if not content:
        raise ConfigurationError("nothing to read: 0 bytes", where=where, expected="a payload; none is empty")
    return content


def _refuse_several(content: bytes, text_form: str, file: str) -> None:
    """Payloads one after the other would be read as one, mixed up: the wire has no end of a message."""
    from uns.errors import ConfigurationError, UnsError
    from uns.sparkplug import codec

    lines = [line for line in content.splitlines() if line.strip()]
    if len(lines) < 2:
        return
    try:
        for line in lines:
            codec.decode_seq(_payload(line, text_form, file), codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX))
    except UnsError:
        return  # one payload on several lines, as a dump has it
    raise ConfigurationError(f"{len(lines)} payloads", where=_named(file), next_step="add --lines, one on each line")


def _document(payload: bytes, table: AliasTable, where: str) -> tuple[PayloadDocument, dict[str, int]]:
    from uns.errors import RemoteProtocolError
    from uns.sparkplug import codec

    try:
        return codec.decode_document(payload, table, codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX))
    except RemoteProtocolError as error:
        error.where = error.where or where
        raise _with_hint(error, payload) from error


def _with_hint(error: RemoteProtocolError, content: bytes) -> RemoteProtocolError:
    if not error.next_step and _TEXT.fullmatch(content):
        error.next_step = "this looks like text: --hex or --base64 reads it"
    return error


def _table_of(files: list[Path], text_form: str) -> AliasTable:
    """One table of all births: aliases are unique over a node and its devices; of equal names the last one counts."""
    from uns.errors import RemoteProtocolError
    from uns.sparkplug.aliases import AliasTable

    table = AliasTable()
    for file in files:
        content = _read(str(file))
        # A birth starts with the tag of its timestamp, seq or metrics, which no text does: kept raw, it is known.
        payload = _payload(content, "" if content[:1] in _TAGS else text_form, str(file))
        try:
            found = _take_birth(table, payload)
        except RemoteProtocolError as error:
            error.where = error.where or str(file)
            raise _with_hint(error, payload) from error
        if not found:
            raise RemoteProtocolError(
                "no birth: no metric of it has a name and a type",
                where=str(file),
                expected="the payload of an NBIRTH or DBIRTH",
            )
    return table


def _take_birth(table: AliasTable, payload: bytes) -> int:
    """Take in the metrics of a birth; how many these are."""
    from uns.sparkplug import codec
    from uns.sparkplug.aliases import binding_of

    birth = codec.decode_birth(payload, codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX))
    for position, metric in enumerate(birth.metrics):
        table.add(binding_of(metric, position))
    return len(birth.metrics)


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


# ── what people read ─────────────────────────────────────────────────────────────────────────────────────────────


def _show(document: PayloadDocument, size: int, forgiven: dict[str, int]) -> None:
    head = [f"{size} bytes", f"{len(document.metrics)} metrics"]
    head += [f"seq {document.seq}"] if document.seq is not None else []
    head += [_time(document.timestamp)] if document.timestamp is not None else []
    head += [f"uuid {document.uuid}"] if document.uuid is not None else []
    print(" · ".join(head))
    for metric in document.metrics:
        print("  " + _line(metric))
    for what, count in forgiven.items():
        print(f"forgiven: {what} ({count})")


def _hint(document: PayloadDocument, *, has_births: bool) -> None:
    """Say what would show more."""
    unnamed = sum(1 for one in document.metrics if one.name is None and one.of_birth is None and one.alias is not None)
    if unnamed:
        wanting = "it is not in the births given" if has_births else "--births FILE gives its NBIRTH or DBIRTH"
        print(f"an alias without a name, {unnamed} times: {wanting}", file=sys.stderr)


def _line(metric: MetricDocument) -> str:
    of_birth = metric.of_birth
    name = metric.name or (of_birth.name if of_birth is not None else None)
    datatype = metric.datatype or (of_birth.datatype if of_birth is not None else None) or metric.field or "?"
    parts = [name if name is not None else "(no name)"]
    if metric.alias is not None:
        parts.append(f"alias {metric.alias}")
    if metric.rejected is not None:
        return "  ".join([*parts, f"unreadable: {metric.rejected}", f"raw {_short(metric.raw)}"])
    value = metric.value
    if isinstance(value, float) and datatype in {"Float", "float_value"}:
        from uns.enrichment.values import float32_text

        value = float(float32_text(value))  # as the node meant it, not with the digits of 64 bits
    parts += [str(datatype), "null" if metric.is_null else _short(value)]
    parts += [word for word in ("is_historical", "is_transient") if getattr(metric, word)]
    if metric.timestamp is not None:
        parts.append(_time(metric.timestamp))
    if metric.properties:
        told = (f"{one.key}={'null' if one.is_null else _short(one.value)}" for one in metric.properties)
        parts.append("{" + ", ".join(told) + "}")
    return "  ".join(parts)


def _short(value: Any) -> str:
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"


def _time(timestamp_ms: int) -> str:
    from datetime import UTC, datetime

    from uns.sparkplug.datatypes import DATETIME_MS_MAX

    if timestamp_ms > DATETIME_MS_MAX:
        return f"timestamp {timestamp_ms}"
    moment = datetime.fromtimestamp(timestamp_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03d}Z"
