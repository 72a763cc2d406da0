"""The YAML door: text stays text, nothing is expanded, every place is known, every bound holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uns.errors import ConfigurationError
from uns.namespace.findings import FINDINGS_MAX
from uns.namespace.yaml_file import (
    DEPTH_MAX,
    FILE_BYTES_MAX,
    Document,
    MappingNode,
    load_yaml,
    parse_duration_ns,
    parse_size_bytes,
    parse_yaml,
)


def parse(text: str) -> Document:
    return parse_yaml(text, file="f.yaml")


def lines(document: Document) -> list[str]:
    return [str(finding) for finding in document.findings]


def rules(document: Document) -> list[str]:
    return [finding.rule for finding in document.findings]


def one(text: str, key: str = "a"):
    """The fields of a file with one key, which may be anything."""
    return parse(text).fields(optional=(key,))


@pytest.mark.parametrize("written", ["0010", "no", "on", "1e3", "12:30", "0x10", "1_000", "2020-01-01", ".5", "="])
def test_identifiers_stay_as_written(written):
    assert one(f"a: {written}").text("a", default=None) == written


def test_quotes_make_text_of_null_and_of_nothing_else():
    assert one('a: "null"').text("a", default="") == "null"
    fields = one("a: null")
    assert fields.text("a", default="default") == "default"
    assert [f.rule for f in fields.findings] == ["empty-value"]


@pytest.mark.parametrize(("written", "value"), [("0", 0), ("-7", -7), ("+7", 7), ("0x1F", 31), ("4294967296", 2**32)])
def test_integers_are_yaml_1_2(written, value):
    assert one(f"a: {written}").integer("a", default=None) == value


@pytest.mark.parametrize("written", ["0010", "1.0", '"7"', "1_000", "0o17", "1e3", "true", "[1]", "seven", "9" * 5000])
def test_what_is_no_integer_is_a_finding(written):
    fields = one(f"a: {written}")
    assert fields.integer("a", default=None) is None
    assert [f.rule for f in fields.findings] == ["wrong-value"]


@pytest.mark.parametrize(
    ("written", "value"), [("0.1", 0.1), ("-20", -20.0), ("1e3", 1000.0), (".5", 0.5), ("1.", 1.0)]
)
def test_numbers(written, value):
    assert one(f"a: {written}").number("a", default=None) == value


@pytest.mark.parametrize("written", [".inf", ".nan", "nan", "1e999", "1,5", '"1"', "1_0.0", "0010", "- 1"])
def test_what_is_no_finite_number_is_a_finding(written):
    document = parse(f"a: {written}" if written != "- 1" else "a:\n  - 1")
    assert document.fields(optional=("a",)).number("a", default=None) is None
    assert rules(document) == ["wrong-value"]


def test_bounds_are_told():
    fields = one("a: 300")
    assert fields.integer("a", default=None, minimum=1, maximum=247) is None
    assert "expected a whole number from 1 to 247" in str(next(iter(fields.findings)))


@pytest.mark.parametrize(("written", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_booleans_are_true_and_false(written, value):
    assert one(f"a: {written}").boolean("a", default=None) is value


def test_yes_is_no_boolean_and_the_finding_says_what_to_write():
    fields = one("a: yes")
    assert fields.boolean("a", default=None) is None
    assert str(next(iter(fields.findings))).endswith("expected true or false; did you mean 'true'?")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *(("250ms", 250_000_000), ("1s", 10**9), ("300s", 300 * 10**9), ("5m", 300 * 10**9), ("1h", 3600 * 10**9)),
        *(("0.1s", 100_000_000), ("7d", 7 * 86400 * 10**9), ("1.5 h", 5400 * 10**9), ("10us", 10_000), ("3ns", 3)),
    ],
)
def test_durations(written, value):
    assert parse_duration_ns(written) == value


@pytest.mark.parametrize("written", ["", "5", "s", "-1s", "1 fortnight", "1e3s", "1s ", "٣s", "1" * 20 + "s"])
def test_what_is_no_duration(written):
    assert parse_duration_ns(written) is None


@pytest.mark.parametrize(
    ("written", "value"), [("2GB", 2 * 10**9), ("64KiB", 65536), ("500 MB", 5 * 10**8), ("1.5MiB", 1572864), ("9B", 9)]
)
def test_sizes(written, value):
    assert parse_size_bytes(written) == value


@pytest.mark.parametrize("written", ["", "2", "2G", "2gb", "-1GB", "GB"])
def test_what_is_no_size(written):
    assert parse_size_bytes(written) is None


def test_a_duration_below_its_minimum_says_the_minimum():
    fields = one("a: 1ms")
    assert fields.duration_ns("a", default=5, minimum_ns=50_000_000) == 5
    assert "expected at least 50ms" in str(next(iter(fields.findings)))


def test_every_finding_of_a_file_is_collected():
    document = parse("a: 1\nb: x\nc: 1\nc: 2\n")
    fields = document.fields(required=("a", "d"), optional=("b",))
    fields.integer("b", default=0)
    assert lines(document) == [
        "f.yaml:1:1: missing-key: the file lacks 'd'; add `d: …`",
        "f.yaml:2:4: wrong-value: 'b' of the file is 'x', expected a whole number",
        "f.yaml:3:1: unknown-key: the file has no key 'c'; known are: a, d, b",
        "f.yaml:4:1: duplicate-key: 'c' stands here a second time; the first is in line 3: keep one",
    ]
    with pytest.raises(ConfigurationError) as caught:
        document.check()
    assert caught.value.findings == tuple(lines(document))


def test_a_misspelt_required_key_is_one_finding():
    document = parse("gatway: gw-1\n")
    document.fields(required=("gateway",))
    assert lines(document) == ["f.yaml:1:1: unknown-key: the file has no key 'gatway'; did you mean 'gateway'?"]


def test_an_absent_mapping_reads_as_an_empty_one():
    store = one("a: 1", "store").fields("store", optional=("bytes_max",))
    assert store.size_bytes("bytes_max", default=7) == 7


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: &x 1", "anchor"),
        ("a: *x", "alias"),
        ("a: !!str 1", "tag"),
        ("a: !mine {}", "tag"),
        ("<<: {a: 1}", "merge-key"),
        ("a: 1\n---\na: 2", "documents"),
        ("%YAML 1.1\n---\na: 1", "directive"),
        ("? [a]\n: 1", "key"),
        ("~: 1", "key"),
        ('a: "\\ud800"', "text"),
        ("a: \x07", "syntax"),
        ("a: [1", "syntax"),
        ("\ta: 1", "syntax"),
        ("", "empty-file"),
        ("# only a comment", "empty-file"),
        ("- a", "wrong-value"),
        ("word", "wrong-value"),
    ],
)
def test_what_is_refused_is_refused_by_its_rule(text, rule):
    assert rule in rules(parse(text))


def test_the_billion_laughs_are_never_laughed():
    text = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(50))
    document = parse(text)
    assert set(rules(document)) == {"anchor", "alias"}
    root = document.root
    assert isinstance(root, MappingNode)
    assert len(root.entries) == 51


def test_nesting_is_bounded():
    deepest = "a: " + "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1)
    assert rules(parse(deepest)) == []
    assert rules(parse("a: " + "[" * DEPTH_MAX)) == ["depth"]
    assert rules(parse("- " * 100_000)) == ["depth"]


def test_the_size_of_a_text_is_bounded():
    filled = "a: " + "x" * (FILE_BYTES_MAX - 3)
    assert rules(parse(filled)) == []
    assert rules(parse(filled + "x")) == ["file-size"]


def test_the_number_of_findings_is_bounded_and_the_rest_is_counted():
    found = lines(parse("".join("a: 1\n" for _ in range(FINDINGS_MAX + 101))))
    assert len(found) == FINDINGS_MAX + 1
    assert "100 more are not shown" in found[-1]


def test_an_error_after_many_warnings_is_still_an_error():
    document = parse("a: 1")
    at = document.fields(optional=("a",)).position
    for _ in range(FINDINGS_MAX + 5):
        document.findings.warning("w", "doubtful", at)
    document.findings.error("e", "wrong", at)
    with pytest.raises(ConfigurationError):
        document.check()


def test_load_yaml_reads_a_file_and_names_it(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [\r\n")
    with pytest.raises(ConfigurationError) as caught:
        load_yaml(path)
    assert caught.value.findings[0].startswith(f"{path}:3:1: syntax:")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: 1\nb: \xff\xfe", "not UTF-8"),
        (b"a: " + b"x" * FILE_BYTES_MAX, "too large"),
    ],
)
def test_unreadable_files_say_why(tmp_path, content, says):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        load_yaml(path)


def test_a_missing_file_and_a_folder_say_why(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot read the file"):
            load_yaml(path)


_YAMLISH = st.text(st.sampled_from("abc01 \n\n  ::--[]{},&*!?|>'\"%#@`~<.\t\\\x00\x85\ud800é\ufeff🙂"))


@given(st.one_of(st.text(), _YAMLISH))
def test_no_text_ever_raises(text):
    document = parse(text)
    assert (document.root is None) <= document.findings.has_errors


@given(st.binary())
def test_no_bytes_ever_raise_anything_but_a_configuration_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "x.yaml"
    path.write_bytes(content)
    try:
        load_yaml(path)
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 both ends are right
