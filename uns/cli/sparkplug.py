"""``uns sparkplug``: any Sparkplug B payload in and out of a readable form, without a broker."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uns.cli.options import JsonOption, standard_input
from uns.cli.output import print_document

if TYPE_CHECKING:
    from uns.sparkplug.aliases import AliasTable
    from uns.sparkplug.documents import MetricDocument, PayloadDocument

__all__ = ["register"]

DECODE_HELP = """Show what a Sparkplug B payload says.

Births give the aliases of DATA their names and types. Compressed payloads are inflated, up to 1 MiB.

Examples:

  uns sparkplug decode nbirth.bin

  uns sparkplug decode ddata.bin --births nbirth.bin --births dbirth.bin --json

  mosquitto_sub -t 'spBv1.0/+/NDATA/#' -C 1 -F %x | uns sparkplug decode - --hex
"""
ENCODE_HELP = """Make a payload of its JSON form, as `uns sparkplug decode --json` prints it.

The form is checked; what it says is not held to what an edge node may send, so that odd payloads can be made for tests.

Examples:

  uns sparkplug encode rebirth.json > rebirth.bin

  uns sparkplug decode ddata.bin --json | uns sparkplug encode - --hex

  uns sparkplug encode rebirth.json | mosquitto_pub -t spBv1.0/plant/NCMD/line1 -s
"""
INPUT_BYTES_MAX = 16 << 20  # of any one file: many times what a payload may have, in the widest form
SHOWN_CHARACTERS_MAX = 100

_TAGS = (b"\x08", b"\x12", b"\x18")

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
    births: Annotated[
        list[Path] | None,
        typer.Option(
            "--births", help="An NBIRTH or DBIRTH of the same session, raw or in the same form; may be repeated."
        ),
    ] = None,
    hexadecimal: HexOption = False,
    in_base64: Base64Option = False,
    as_json: JsonOption = False,
) -> None:
    """See DECODE_HELP."""
    from uns.errors import RemoteProtocolError
    from uns.sparkplug import codec
    from uns.sparkplug.documents import document_to_json

    text_form = _text_form(hexadecimal=hexadecimal, in_base64=in_base64)
    table = _table_of(births or [], text_form)
    payload = _payload(_read(file), text_form, file)
    leniency = codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX)
    try:
        document, forgiven = codec.decode_document(payload, table, leniency)
    except RemoteProtocolError as error:
        error.where = error.where or _named(file)
        raise
    if as_json:
        import msgspec

        print_document(msgspec.Raw(document_to_json(document)))
    else:
        _show(document, len(payload), forgiven)


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
        payload = codec.encode_document(document_from_json(_read(file)))
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


def _payload(content: bytes, text_form: str, file: str) -> bytes:
    from uns.errors import ConfigurationError

    try:
        if text_form == "hex":
            return bytes.fromhex(content.decode("ascii"))
        if text_form == "base64":
            return base64.b64decode(b"".join(content.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ConfigurationError(f"no {text_form} text: {error}", where=_named(file)) from error
    return content


def _table_of(files: list[Path], text_form: str) -> AliasTable:
    """One table of all births: aliases are unique over a node and its devices; of equal names the last one counts."""
    from uns.errors import RemoteProtocolError
    from uns.sparkplug import codec
    from uns.sparkplug.aliases import AliasTable, binding_of

    table = AliasTable()
    leniency = codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX)
    for file in files:
        try:
            content = _read(str(file))
            # A birth starts with the tag of its timestamp, seq or metrics, which no text does: kept raw, it is known.
            birth = codec.decode_birth(
                _payload(content, "" if content[:1] in _TAGS else text_form, str(file)), leniency
            )
        except RemoteProtocolError as error:
            error.where = error.where or str(file)
            raise
        for position, metric in enumerate(birth.metrics):
            table.add(binding_of(metric, position))
    return table


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
