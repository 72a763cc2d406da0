"""The equations say what holds and what does not, with the numbers."""

from __future__ import annotations

from decimal import Decimal

from uns.runtime.accounting import (
    bridge_equations,
    bridge_terms,
    edge_equations,
    explanation_equation,
    host_equations,
    loss_equation,
    lost,
    performance_equation,
    record_log_equations,
)


def edge(**terms: int) -> dict[str, int]:
    return {
        "read": 12, "reduced": 1, "stored": 10, "refused": 1, "confirmed": 10, "waiting": 0, "dropped": 0, **terms
    }  # fmt: skip


def host(**terms: int) -> dict[str, int]:
    return {
        "received": 11, "recorded": 10, "duplicates_dropped": 1, "rejected": 0, "unmapped": 0, "unjoined": 0,
        "resolved": 7, "unassigned": 2, "unresolved": 1, **terms,
    }  # fmt: skip


def test_balanced_books_hold() -> None:
    assert all(equation.holds for equation in edge_equations("gw", edge()) + host_equations(host()))


def test_an_equation_shows_its_numbers() -> None:
    assert str(edge_equations("gw-1", edge())[0]) == "✓ gw-1: read 12 = reduced 1 + stored 10 + refused 1"


def test_one_value_too_many_or_too_few_is_noticed() -> None:
    for changed in ("read", "reduced", "stored", "refused"):
        assert not edge_equations("gw", edge(**{changed: 99}))[0].holds
    for changed in ("stored", "confirmed", "waiting", "dropped"):
        assert not edge_equations("gw", edge(**{changed: 99}))[1].holds
    for changed in ("received", "recorded", "duplicates_dropped", "rejected", "unmapped", "unjoined"):
        assert not host_equations(host(**{changed: 99}))[0].holds
    for changed in ("recorded", "resolved", "unassigned", "unresolved"):
        assert not host_equations(host(**{changed: 99}))[1].holds


def test_a_missing_counter_is_no_zero() -> None:
    terms = edge()
    del terms["refused"]
    (equation, _) = edge_equations("gw", terms)
    assert not equation.holds
    assert "no refused" in equation.text


def test_what_was_stored_and_is_nowhere_is_lost() -> None:
    assert lost({"a": edge(stored=6), "b": edge(stored=7)}, host(recorded=10)) == 3
    assert not loss_equation({"a": edge(stored=11)}, host()).holds


def test_rejected_and_unmapped_samples_are_not_lost() -> None:
    assert loss_equation({"a": edge(stored=13)}, host(rejected=1, unmapped=2)).holds


def test_only_what_a_policy_dropped_may_be_missing() -> None:
    assert loss_equation({"a": edge(stored=13, dropped=3)}, host()).holds
    assert not loss_equation({"a": edge(stored=14, dropped=3)}, host()).holds


def test_more_recorded_than_stored_is_wrong_too() -> None:
    assert not loss_equation({"a": edge(stored=9)}, host()).holds


def test_counters_are_held_against_the_rows_status_by_status() -> None:
    rows = {"resolved": 7, "unassigned": 2, "unresolved": 1}

    def holds(**changed: int) -> list[bool]:
        found = record_log_equations(host(**changed), recorded=10, duplicates=0, statuses=rows)
        return [equation.holds for equation in found]

    assert holds() == [True, True, True]
    assert holds(resolved=6, unresolved=2) == [True, True, False]  # the sum alone would not tell
    assert holds(recorded=11) == [True, False, True]
    assert not record_log_equations(host(), recorded=10, duplicates=1, statuses=rows)[0].holds


def test_an_order_without_an_answer_and_an_item_that_is_nowhere_are_noticed() -> None:
    counters = {"items": 3, "delivered": 1, "orders_read": 2, "facts_accepted": 1, "facts_refused": 1}
    stats = {"waiting": 1, "dead_letters": 1, "counters": counters}
    assert [str(each) for each in bridge_equations(bridge_terms(stats))] == [
        "✓ bridge: orders_read 2 = facts_accepted 1 + facts_refused 1 + orders_refused 0",
        "✓ bridge: items 3 = delivered 1 + waiting 1 + in_doubt 0 + dead_letters 1 + dropped 0",
    ]
    counters |= {"items": 4, "facts_accepted": 0}
    assert [each.holds for each in bridge_equations(bridge_terms(stats))] == [False, False]


def test_a_bridge_without_figures_balances_nothing() -> None:
    assert [each.holds for each in bridge_equations(bridge_terms({}))] == [False, False]


def test_a_performance_is_held_to_its_samples() -> None:
    def equation(said: str | None, counted: str | None) -> bool:
        amounts = [None if text is None else Decimal(text) for text in (said, counted)]
        return performance_equation("WO-1", said=amounts[0], counted=amounts[1], how="").holds

    assert equation("3", "3.0")
    assert not equation("3", "4")
    assert not equation(None, "3")
    assert not equation(None, None)  # nothing said of nothing is no proof


def test_what_is_explained_is_what_the_document_says() -> None:
    assert explanation_equation("WO-1", said=Decimal(3), explained=Decimal("3.0")).holds
    assert not explanation_equation("WO-1", said=Decimal(3), explained=None).holds
    assert not explanation_equation("WO-1", said=None, explained=None).holds
