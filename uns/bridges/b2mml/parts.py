"""The parts that orders share in every version of B2MML: requirements, parameters, states, places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, TypeVar

from uns.bridges.b2mml.document import line_of, name_of
from uns.bridges.b2mml.values import Element, Values
from uns.context.records import MaterialRequirement, MaterialUse, Parameter, Quantity
from uns.namespace.findings import nearest, shown

__all__ = ["Parts", "Produced", "word_of"]

Word = TypeVar("Word", bound=StrEnum)

# V0401 had an element for each use before it had MaterialUse.
_USE_OF_ELEMENT = {
    "MaterialProducedRequirement": MaterialUse.PRODUCED,
    "MaterialConsumedRequirement": MaterialUse.CONSUMED,
    "ConsumableExpectedRequirement": MaterialUse.CONSUMABLE,
}
_MATERIALS = ("MaterialRequirement", *_USE_OF_ELEMENT)
_PARAMETERS = ("JobOrderParameter", "SegmentParameter", "ProductionParameter", "Parameter")
_PARAMETERS_BELOW = ("ParameterChild", "Parameter")
_SCOPES = ("HierarchyScope", "Location")
_SCOPES_BELOW = ("HierarchyScopeChild", "Location")


def word_of(words: type[Word], text: str) -> Word | None:
    """The member of an enumeration that is spelled so, upper and lower case aside."""
    try:
        return words(text)
    except ValueError:
        lower = text.lower()
        return next((word for word in words if word.value.lower() == lower), None)


class Produced(NamedTuple):
    """What an order makes."""

    material: str | None
    quantity: Quantity | None


class Parts:
    """Reads parts of orders; what is missing or strange becomes a finding."""

    def __init__(self, values: Values, namespace: str) -> None:
        self._values = values
        self._namespace = namespace

    def state(self, element: Element, name: str, words: type[Word]) -> tuple[Word | None, str]:
        """(state, as received); a word that B2MML does not have is reported and read as none."""
        child = self._values.child(element, name)
        text = None if child is None else self._values.own_text(child)
        if child is None or text is None:
            return None, ""
        word = word_of(words, text)
        if word is None:
            self._values.findings.warning(
                "unknown-word",
                f"{name} {shown(text)} is none of B2MML's; it is kept as received and not acted upon",
                line_of(child),
                nearest(text, [known.value for known in words]) or f"use one of: {', '.join(words)}",
            )
            return None, text[:256]
        other = child.get("OtherValue") if word.value == "Other" else None
        return word, (other or text)[:256].strip()

    def materials(self, element: Element) -> Iterator[MaterialRequirement]:
        """The materials of a job, one for each lot."""
        for child in self._values.children(element, *_MATERIALS):
            names = self._values.identifiers(child, "MaterialDefinitionID")
            names = names or self._values.identifiers(child, "MaterialClassID")
            if not names:
                self._values.findings.warning(
                    "no-material",
                    "a material requirement names neither MaterialDefinitionID nor MaterialClassID; it is left out",
                    line_of(child),
                    "name the material",
                )
                continue
            kind = name_of(child, self._namespace)
            use = _USE_OF_ELEMENT.get(kind) or self.state(child, "MaterialUse", MaterialUse)[0]
            lots = self._values.identifiers(child, "MaterialLotID")
            sublots = self._values.identifiers(child, "MaterialSubLotID")
            quantity = self._values.quantity(child)
            if quantity is not None and quantity.value < 0:
                self._values.findings.warning(
                    "negative-quantity",
                    f"{quantity.value:f} of {shown(names[0])} is less than nothing; it is kept as it stands",
                    line_of(child),
                    "correct the order and send it again; what comes out as a by-product is MaterialUse "
                    "'By-product Produced', with a quantity above 0",
                )
            if len(lots) > 1 and quantity is not None:
                self._values.findings.warning(
                    "several-lots",
                    f"one quantity for {len(lots)} lots of {shown(names[0])}; it stays without a quantity for each",
                    line_of(child),
                    "send a requirement for each lot",
                )
                quantity = None
            for lot in lots or (None,):
                yield MaterialRequirement(
                    material=names[0],
                    use=use,
                    lot=lot,
                    sublot=sublots[0] if len(sublots) == 1 else None,
                    quantity=quantity,
                    location=self._location(child),
                )

    def parameters(self, element: Element) -> Iterator[Parameter]:
        """The parameters of a job, those below others too."""
        for child in self._values.children(element, *_PARAMETERS):
            yield from self._parameter(child, "")

    def scopes(self, element: Element) -> list[str]:
        """The equipment of an element's HierarchyScope (Location in V0401), innermost first."""
        found: list[str] = []
        scope = next(self._values.children(element, *_SCOPES), None)
        while scope is not None:
            code = self._values.identifier(scope, "EquipmentID")
            if code is not None:
                found.append(code)
            scope = next(self._values.children(scope, *_SCOPES_BELOW), None)
        return found[::-1]

    def required(self, element: Element, name: str, identifier: str) -> tuple[str, ...]:
        """The identifiers of all requirements of a kind, such as EquipmentRequirement/EquipmentID."""
        found: Iterable[str] = (
            code
            for child in self._values.children(element, name)
            for code in self._values.identifiers(child, identifier)
        )
        return tuple(dict.fromkeys(found))

    def _parameter(self, element: Element, above: str) -> Iterator[Parameter]:
        own = self._values.identifier(element, "ID")
        name = above
        if own is not None:
            name = f"{above}/{own}" if above else own
            value = self._values.child(element, "Value")
            code, received = ("", "") if value is None else self._values.unit(value)
            text = None if value is None else self._values.text(value, "ValueString")
            kind = None if value is None else self._values.text(value, "DataType")
            yield Parameter(
                id=name, value=(text or "")[:1024].strip(), data_type=kind or "", unit=code, unit_as_received=received
            )
        for child in self._values.children(element, *_PARAMETERS_BELOW):
            yield from self._parameter(child, name)

    def _location(self, element: Element) -> str | None:
        """Where a material lies: StorageLocation/Location, or the equipment of a V0401 Location."""
        storage = self._values.child(element, "StorageLocation")
        if storage is not None:
            return self._values.text(storage, "Location") or self._values.own_text(storage)
        scopes = self.scopes(element)
        return scopes[0] if scopes else None
