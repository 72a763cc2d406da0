"""A day's file: every row is a value, liveness, a repeat or malformed; none is skipped in silence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_nodes.simulators.shdr import KEY_CHARACTERS_MAX, Day, load_day, machine_of, parse_day
from uns.errors import ConfigurationError


def day_of(*rows: str) -> Day:
    return parse_day("Mill01", [row.encode() for row in rows])


def assert_accounted(day: Day) -> None:
    assert day.rows == day.samples + day.liveness + day.repeats + day.malformed
    assert len(day.observations) == day.samples + day.repeats


def test_a_sample_row_is_one_value_with_its_time() -> None:
    day = day_of("2017-09-07T09:15:46.281Z|program|O94")
    (row,) = day.observations
    assert (row.row, row.key, row.time_us, row.value) == (1, "program", 1_504_775_746_281_000, "O94")


def test_a_condition_row_is_one_row() -> None:
    day = day_of("2017-09-07T09:17:37.851Z|system_cond|Warning|1101|||INTERFERE")
    assert [o.value for o in day.observations] == ["Warning|1101|||INTERFERE"]
    assert day.metrics["system_cond"].kind == "String"


@pytest.mark.parametrize("value", ["UNAVAILABLE", "Unavailable", "unavailable"])
def test_unavailable_is_liveness_not_a_value(value: str) -> None:
    day = day_of(f"2017-09-07T09:15:46.281Z|Xload|{value}", "2017-09-07T09:15:47.281Z|Xload|4")
    assert (day.liveness, len(day.observations)) == (1, 1)
    assert day.metrics["Xload"].kind == "Double"


def test_an_unavailable_condition_is_liveness() -> None:
    assert day_of("2017-09-07T09:15:46.281Z|servo_cond|Unavailable||||").liveness == 1


def test_a_key_without_any_value_is_no_metric() -> None:
    assert day_of("2017-09-07T09:15:46.281Z|Xload|UNAVAILABLE").metrics == {}


def test_a_key_is_double_only_where_every_value_is_a_number() -> None:
    day = day_of(
        "2017-09-07T09:15:46Z|speed|100",
        "2017-09-07T09:15:47Z|speed|1.5e3",
        "2017-09-07T09:15:46Z|tool|1",
        "2017-09-07T09:15:47Z|tool|T1",
        "2017-09-07T09:15:47Z|odd|NaN",
        "2017-09-07T09:15:47Z|huge|1e999",
        "2017-09-07T09:15:47Z|empty|",
    )
    assert {key: metric.kind for key, metric in day.metrics.items()} == {
        "speed": "Double", "tool": "String", "odd": "String", "huge": "String", "empty": "String",
    }  # fmt: skip


def test_a_program_is_a_name_even_where_it_is_a_number() -> None:
    day = day_of("2017-09-07T09:15:46.281Z|program|0094")
    assert (day.program_key, day.observations[0].value) == ("program", "0094")


def test_the_same_row_again_is_a_repeat() -> None:
    row = "2019-06-05T09:29:11.625Z|motion_cond|Normal||||"
    assert day_of(row, row).repeats == 1


def test_the_same_number_written_in_another_way_is_a_repeat() -> None:
    assert day_of("2019-06-05T09:29:11.625Z|Fovr|100", "2019-06-05T09:29:11.625000Z|Fovr|100.0").repeats == 1


def test_another_value_at_the_same_time_is_no_repeat() -> None:
    day = day_of("2017-09-07T09:17:37.851Z|c|Warning|1|||x", "2017-09-07T09:17:37.851Z|c|Normal|2|||")
    assert (day.repeats, day.samples) == (0, 2)


@pytest.mark.parametrize(
    "row",
    [
        "",
        "   ",
        "garbage",
        "2017-09-07T09:15:46.281Z|program",
        "2017-09-07T09:15:46.281Z|program|94|95",
        "2017-13-07T09:15:46.281Z|program|94",
        "2017-09-07 09:15:46|program|94",
        "1969-09-07T09:15:46Z|program|94",
        "|program|94",
        "2017-09-07T09:15:46.281Z||94",
        "2017-09-07T09:15:46.281Z|pro gram|94",
        f"2017-09-07T09:15:46.281Z|{'k' * (KEY_CHARACTERS_MAX + 1)}|94",
        "2017-09-07T09:15:46.281Z|program|\x00",
        f"2017-09-07T09:15:46.281Z|program|{'9' * 5000}",
    ],
)
def test_what_cannot_be_read_is_malformed_and_says_why(row: str) -> None:
    day = day_of(row, "2017-09-07T09:15:46.281Z|program|94")
    assert (day.malformed, len(day.observations)) == (1, 1)
    assert day.malformed_rows[0].row == 1
    assert day.malformed_rows[0].reason


def test_bytes_that_are_no_text_are_malformed() -> None:
    assert parse_day("m", [b"2017-09-07T09:15:46.281Z|program|\xff\xfe"]).malformed == 1


def test_keys_that_differ_only_in_case_or_odd_characters_stay_apart() -> None:
    day = day_of("2017-09-07T09:15:46Z|Cload|1", "2017-09-07T09:15:46Z|cload|1", "2017-09-07T09:15:46Z|c.l|1",
                 "2017-09-07T09:15:46Z|c:l|1", "2017-09-07T09:15:46Z|_x|1")  # fmt: skip
    names = [metric.name for metric in day.metrics.values()]
    assert names == ["Cload", "cload-2", "c_l", "c_l-2", "x_x"]


def test_a_file_reads_the_same_plain_and_gzipped(tmp_path: Path) -> None:
    rows = b"2017-09-07T09:15:46.281Z|program|94\r\n2017-09-07T09:15:47.281Z|program|81\n"
    plain, packed = tmp_path / "Mazak03-20170907-20170908.txt", tmp_path / "Mazak03-20170907-20170908.txt.gz"
    plain.write_bytes(rows)
    packed.write_bytes(gzip.compress(rows))
    assert load_day(plain) == load_day(packed)
    assert load_day(plain).rows == 2
    assert [o.value for o in load_day(plain).observations] == ["94", "81"]


def test_a_cut_gzip_file_is_one_clear_error(tmp_path: Path) -> None:
    cut = tmp_path / "Mazak03.txt.gz"
    cut.write_bytes(gzip.compress(b"2017-09-07T09:15:46.281Z|program|94\n" * 100)[:40])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_day(cut)


@pytest.mark.parametrize(
    ("name", "machine"),
    [
        ("Mazak03-20170907-20170908.txt.gz", "Mazak03"),
        ("Hurco02-20170329-20170330.txt", "Hurco02"),
        ("my day.txt", "my_day"),
        (".txt", "machine"),
    ],
)
def test_the_machine_is_named_by_the_file(name: str, machine: str) -> None:
    assert machine_of(Path(name)) == machine


fields = st.sampled_from(["2017-09-07T09:15:46.281Z", "x", "UNAVAILABLE", "1", "1.0", "", "program"])


@given(st.lists(st.lists(fields, max_size=8).map("|".join), max_size=40))
def test_whatever_the_rows_they_are_all_accounted_for(rows: list[str]) -> None:
    assert_accounted(day_of(*rows))
