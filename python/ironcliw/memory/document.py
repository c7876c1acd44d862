"""Reads a snapshot from its JSON. What does not fit is `InvalidInput`, which names the place; keys that are
not known are left alone, so that a newer file can be read as far as it is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args

from ironcliw.errors import InvalidInput
from ironcliw.types import LeakLevel, Pressure

from .model import (
    ClassHolding,
    Frame,
    HeldClass,
    IdleClass,
    Leak,
    Lease,
    LeaseKind,
    Mark,
    MarkKind,
    OwnerHolding,
    Sample,
    ThreadHolding,
    Totals,
    Tracking,
)

FORMAT = "ironcliw.pool"
VERSION = 1
"""Of the documents that this version reads."""

SECONDS_MAX = 1e11
"""No moment and no age is beyond the year 5138: what claims to be has another unit."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Document:
    """A snapshot that was read."""

    taken_at: float
    pressure: Pressure
    totals: Totals
    classes: tuple[ClassHolding, ...]
    owners: tuple[OwnerHolding, ...]
    threads: tuple[ThreadHolding, ...]
    tracking: Tracking
    leases: tuple[Lease, ...]
    leaks: tuple[Leak, ...]
    history: tuple[Sample, ...]
    marks: tuple[Mark, ...]


class Fields:
    """An object of the document, and where it stands in it."""

    __slots__ = ("_values", "_where")

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise InvalidInput(f"{where}: an object is expected, not {_short(values)}")
        self._values: dict[str, Any] = values
        self._where = where

    def wrong(self, key: str, expected: str) -> InvalidInput:
        return InvalidInput(
            f"{self._where}.{key}: {expected} is expected, not {_short(self._values.get(key))}"
        )

    def has(self, key: str) -> bool:
        return key in self._values

    def whole(self, key: str) -> int:
        value = self._values.get(key)
        if not _is_whole(value):
            raise self.wrong(key, "a whole number of 0 or more, in 64 bits")
        return cast(int, value)

    def whole_or_none(self, key: str) -> int | None:
        return None if self._values.get(key) is None else self.whole(key)

    def number(self, key: str, most: float = SECONDS_MAX) -> float:
        value = self._values.get(key)
        if type(value) not in (int, float) or not 0 <= cast(float, value) <= most:
            raise self.wrong(key, f"a number from 0 to {most:g}")
        return float(cast(float, value))

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return _clean(value)

    def text_or_none(self, key: str) -> str | None:
        return None if self._values.get(key) is None else self.text(key)

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._values.get(key)
        if value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return cast(str, value)

    def sequence(self, key: str) -> list[Any]:
        value = self._values.get(key)
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def each(self, key: str, read: Callable[[Fields], _T]) -> tuple[_T, ...]:
        where = f"{self._where}.{key}"
        return tuple(read(Fields(value, f"{where}[{n}]")) for n, value in enumerate(self.sequence(key)))

    def part(self, key: str) -> Fields:
        return Fields(self._values.get(key), f"{self._where}.{key}")


def read(data: bytes) -> Document:
    """The snapshot that `data` is the JSON of."""
    try:
        values = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is no snapshot: {error or 'it is nested too deeply'}") from error
    top = Fields(values, "snapshot")
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise InvalidInput(f"this is no snapshot of a pool: its format is not {FORMAT!r}")
    if top.whole("version") != VERSION:
        raise InvalidInput(f"this is a snapshot of version {values['version']}, and {VERSION} is known here")
    stacks = _stacks(top.part("stacks"))
    return Document(
        taken_at=top.number("taken_at_unix_s"),
        pressure=cast(Pressure, top.one_of("pressure", get_args(Pressure))),
        totals=_totals(top.part("totals")),
        classes=top.each("classes", _class),
        owners=top.each("owners", _owner),
        # The first files had none.
        threads=top.each("threads", _thread) if top.has("threads") else (),
        tracking=_tracking(top.part("tracking")),
        leases=top.each("leases", lambda fields: _lease(fields, stacks)),
        leaks=top.each("leaks", lambda fields: _leak(fields, stacks)),
        history=top.each("history", _sample),
        marks=top.each("marks", _mark),
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _clean(text: str) -> str:
    """Without halves of characters, which no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _totals(fields: Fields) -> Totals:
    return Totals(**{name: fields.whole(name) for name in Totals.__dataclass_fields__})


def _class(fields: Fields) -> ClassHolding:
    names = [name for name in ClassHolding.__dataclass_fields__ if name != "waste_bytes"]
    return ClassHolding(
        **{name: fields.whole(name) for name in names}, waste_bytes=fields.whole_or_none("waste_bytes")
    )


def _owner(fields: Fields) -> OwnerHolding:
    return OwnerHolding(
        owner=fields.text("owner"),
        live=fields.whole("live"),
        live_bytes=fields.whole("live_bytes"),
        allocations=fields.whole("allocations"),
        dropped_unreleased=fields.whole("dropped_unreleased"),
        classes=fields.each(
            "classes",
            lambda held: HeldClass(**{name: held.whole(name) for name in HeldClass.__dataclass_fields__}),
        ),
    )


def _thread(fields: Fields) -> ThreadHolding:
    return ThreadHolding(
        id=fields.whole_or_none("id"),
        name=fields.text_or_none("name"),
        idle_bytes=fields.whole("idle_bytes"),
        classes=fields.each("classes", lambda kept: IdleClass(kept.whole("size"), kept.whole("idle"))),
    )


def _tracking(fields: Fields) -> Tracking:
    return Tracking(
        level=cast(LeakLevel, fields.one_of("level", get_args(LeakLevel))),
        sample_every=fields.whole("sample_every"),
        recorded_leases=fields.whole("recorded_leases"),
        dropped_events=fields.whole("dropped_events"),
        # The first files had neither.
        lost_records=fields.whole("lost_records") if fields.has("lost_records") else 0,
        lost_stacks=fields.whole("lost_stacks") if fields.has("lost_stacks") else 0,
    )


def _stacks(fields: Fields) -> list[tuple[Frame, ...]]:
    frames = fields.each(
        "frames",
        lambda frame: Frame(frame.text("function"), frame.text_or_none("file"), frame.whole_or_none("line")),
    )
    stacks = []
    for places in fields.sequence("calls"):
        if not isinstance(places, list) or not all(_is_place(place, len(frames)) for place in places):
            raise fields.wrong("calls", "lists of places in frames")
        stacks.append(tuple(frames[place] for place in places))
    return stacks


def _is_whole(value: object) -> bool:
    # Not more than a `u64`: what is larger has no bytes, and may be too large for a float.
    return type(value) is int and 0 <= value < 1 << 64


def _is_place(value: object, length: int) -> bool:
    return type(value) is int and 0 <= value < length


def _stack(fields: Fields, stacks: list[tuple[Frame, ...]]) -> tuple[Frame, ...]:
    place = fields.whole_or_none("stack")
    if place is None:
        return ()
    if place >= len(stacks):
        raise fields.wrong("stack", f"a place among {len(stacks)} stacks")
    return stacks[place]


def _lease(fields: Fields, stacks: list[tuple[Frame, ...]]) -> Lease:
    return Lease(
        id=fields.whole("id"),
        owner=fields.text("owner"),
        size=fields.whole("size"),
        bytes=fields.whole("bytes"),
        block_bytes=fields.whole("block_bytes"),
        kind=cast(LeaseKind, fields.one_of("kind", get_args(LeaseKind))),
        age=fields.number("age_s"),
        too_old=fields.flag("too_old"),
        weight=fields.number("weight", 1e15),
        site=fields.text_or_none("site"),
        task=fields.text_or_none("task"),
        frames=_stack(fields, stacks),
    )


def _leak(fields: Fields, stacks: list[tuple[Frame, ...]]) -> Leak:
    return Leak(
        kind=fields.text("kind"),
        owner=fields.text("owner"),
        size=fields.whole("class_size"),
        equal=fields.whole("equal"),
        bytes=fields.whole("bytes"),
        age=fields.number("age_s"),
        site=fields.text_or_none("site"),
        frames=_stack(fields, stacks),
    )


def _sample(fields: Fields) -> Sample:
    owners: dict[str, int] = {}
    for pair in fields.sequence("owners"):
        match pair:
            case [str(owner), int(held)] if _is_whole(held):
                owners[_clean(owner)] = held
            case _:
                raise fields.wrong("owners", "pairs of a name and a whole number")
    return Sample(
        at=fields.number("at_unix_s"),
        held_bytes=fields.whole("held_bytes"),
        live_bytes=fields.whole("live_bytes"),
        limit_bytes=fields.whole("limit_bytes"),
        pressure=cast(Pressure, fields.one_of("pressure", get_args(Pressure))),
        owners=owners,
    )


def _mark(fields: Fields) -> Mark:
    return Mark(
        at=fields.number("at_unix_s"),
        kind=cast(MarkKind, fields.one_of("kind", get_args(MarkKind))),
        text=fields.text("text"),
    )
