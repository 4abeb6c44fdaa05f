"""What exists in the synthetic world: looks, events, scenes, and claims that are true or false of a scene.

Pure data, no pixels and no words. A claim is compared with a scene field by field, so "true of exactly one clip" is
decided here and never by reading a caption back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
TEXTURES = ("plain", "striped", "dotted")
SIZES = ("small", "large")
BACKGROUNDS = ("grey", "sky", "grass", "sand", "night", "brick", "checker", "snow")

# An object this close in colour to what lies behind it could not be seen.
INVISIBLE = {
    ("blue", "sky"), ("white", "sky"), ("green", "grass"), ("yellow", "sand"), ("orange", "sand"), ("black", "night"),
    ("red", "brick"), ("orange", "brick"), ("white", "snow"), ("white", "checker"), ("black", "checker"),
}

# Degrees after which a turned shape looks the same; 0: turning it cannot be seen.
SYMMETRY = {"circle": 0, "square": 90, "triangle": 120, "star": 72, "cross": 90, "ring": 0, "heart": 360, "crescent": 360}


@dataclass(frozen=True)
class Event:
    """Something that happens to one or two objects."""

    name: str
    objects: int
    reverse: str | None  # what it is when played backwards; None: it looks the same
    swaps: bool = False  # played backwards, the two objects change roles
    mutual: bool = False  # the objects have no roles at all
    entails: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # one-object events that each object may be said to do


_ANYWHERE = ("left", "right", "up", "down")
EVENTS = (
    Event("left", 1, "right"),
    Event("right", 1, "left"),
    Event("up", 1, "down"),
    Event("down", 1, "up"),
    Event("spin_clockwise", 1, "spin_counter"),
    Event("spin_counter", 1, "spin_clockwise"),
    Event("grow", 1, "shrink"),
    Event("shrink", 1, "grow"),
    Event("appear", 1, "disappear"),
    Event("disappear", 1, "appear"),
    Event("recolour", 1, "recolour"),
    Event("orbit_clockwise", 1, "orbit_counter"),
    Event("orbit_counter", 1, "orbit_clockwise"),
    Event("still", 1, None),
    Event("bounce", 1, None),
    Event("shake", 1, None),
    Event("blink", 1, None),
    Event("approach", 2, "part", mutual=True, entails=(_ANYWHERE, _ANYWHERE)),
    Event("part", 2, "approach", mutual=True, entails=(_ANYWHERE, _ANYWHERE)),
    Event("collide", 2, None, mutual=True, entails=(_ANYWHERE + ("bounce",), _ANYWHERE + ("bounce",))),
    Event("chase_left", 2, "chase_right", swaps=True, entails=(("left",), ("left",))),
    Event("chase_right", 2, "chase_left", swaps=True, entails=(("right",), ("right",))),
    Event("circle_clockwise", 2, "circle_counter", entails=(("orbit_clockwise",), ("still",))),
    Event("circle_counter", 2, "circle_clockwise", entails=(("orbit_counter",), ("still",))),
    Event("hide", 2, "emerge", entails=(_ANYWHERE + ("disappear",), ("still",))),
    Event("emerge", 2, "hide", entails=(_ANYWHERE + ("appear",), ("still",))),
    Event("rise_fall", 2, "rise_fall", swaps=True, entails=(("up",), ("down",))),
)
EVENT_NAMES = tuple(event.name for event in EVENTS)
EVENT = {event.name: event for event in EVENTS}
ANY = -1


@dataclass(frozen=True)
class Look:
    """One object as it looks. Used in claims too, where ANY stands for "not said"."""

    shape: int = ANY
    colour: int = ANY
    texture: int = ANY
    size: int = ANY


@dataclass(frozen=True)
class Scene:
    """A stretch of footage: what is there, what happens, and the numbers that say exactly how."""

    background: int
    event: str
    looks: tuple[Look, ...]
    turns_to: int = ANY  # the colour that a "recolour" ends in
    duration: float = 1.75
    numbers: dict[str, float] = field(default_factory=dict, hash=False)

    def reversed(self) -> "Scene":
        """The meaning of the same footage played backwards. Only for comparing: pixels are reversed as pixels."""
        event = EVENT[self.event]
        looks = self.looks[::-1] if event.swaps else self.looks
        if self.event == "recolour":
            looks = (replace(looks[0], colour=self.turns_to),)
            return replace(self, looks=looks, turns_to=self.looks[0].colour)
        return replace(self, event=event.reverse or self.event, looks=looks)

    @property
    def has_twin(self) -> bool:
        """Whether playing it backwards shows something else."""
        return EVENT[self.event].reverse is not None


@dataclass(frozen=True)
class Claim:
    """What a caption says of a scene. Whatever it leaves open is ANY; no events means that none is named."""

    events: tuple[str, ...]
    looks: tuple[Look, ...]
    background: int = ANY
    turns_to: int = ANY

    def reversed(self) -> "Claim":
        """The claim that is true of the reversed footage exactly when this one is true of the footage."""
        if not self.events:
            return self
        first = EVENT[self.events[0]]
        looks = self.looks[::-1] if first.swaps else self.looks
        if first.name == "recolour":
            looks = (replace(looks[0], colour=self.turns_to),)
            return replace(self, looks=looks, turns_to=self.looks[0].colour)
        events = sorted((EVENT[name].reverse or name for name in self.events), key=EVENT_NAMES.index)
        return replace(self, events=tuple(events), looks=looks)


def held_out(look: Look) -> bool:
    """Whether this pair of colour and shape is kept from training: 16 of the 72, two for each shape."""
    return (look.colour + 2 * look.shape) % len(COLOURS) in (0, 4)


def visible(colour: int, background: int) -> bool:
    return (COLOURS[colour], BACKGROUNDS[background]) not in INVISIBLE


def can_spin(look: Look) -> bool:
    return SYMMETRY[SHAPES[look.shape]] > 0


# --- truth, for many claims and scenes at once -------------------------------------------------------------------

_FIELDS = ("shape", "colour", "texture", "size")
# Columns of an encoded scene: event, objects, background, turns_to, then the four fields of each look.
_WIDTH = 4 + 2 * len(_FIELDS)
_ENTAILED = np.zeros((len(EVENTS), 2), np.int64)
for _i, _event in enumerate(EVENTS):
    for _role in range(2):
        _ENTAILED[_i, _role] = sum(1 << EVENT_NAMES.index(name) for name in _event.entails[_role])
_MUTUAL = np.array([event.mutual for event in EVENTS])
_RESIZES = np.isin(EVENT_NAMES, ("grow", "shrink"))


def _encode(first: int, looks: tuple[Look, ...], background: int, turns_to: int) -> np.ndarray:
    row = np.full(_WIDTH, ANY, np.int64)
    row[:4] = first, len(looks), background, turns_to
    for i, look in enumerate(looks):
        row[4 + 4 * i : 8 + 4 * i] = [getattr(look, name) for name in _FIELDS]
    return row


def encode_scenes(scenes: list[Scene]) -> np.ndarray:
    """[N, 12] integers, as `truth` wants them."""
    return np.stack([_encode(EVENT_NAMES.index(s.event), s.looks, s.background, s.turns_to) for s in scenes])


def encode_claims(claims: list[Claim]) -> np.ndarray:
    """[N, 12] integers; the first column is a bit set of events, all bits when no event is named."""
    every = (1 << len(EVENTS)) - 1
    bits = [sum(1 << EVENT_NAMES.index(name) for name in c.events) or every for c in claims]
    return np.stack([_encode(b, c.looks, c.background, c.turns_to) for b, c in zip(bits, claims)])


def _look_agrees(claims: np.ndarray, i: int, scenes: np.ndarray, j: int) -> np.ndarray:
    agrees = np.ones((len(claims), len(scenes)), bool)
    for k, name in enumerate(_FIELDS):
        said = claims[:, 4 + 4 * i + k, None]
        there = scenes[None, :, 4 + 4 * j + k]
        same = said == there
        if name == "colour":
            # An object that changes colour may be called by either, unless the claim is about the change.
            same |= (claims[:, 3, None] == ANY) & (scenes[None, :, 3] == said)
        if name == "size":
            same |= _RESIZES[scenes[:, 0]][None, :]
        agrees &= (said == ANY) | same
    return agrees


def truth(claims: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """[claims, scenes] booleans. Where a person could argue either way it says true."""
    event = scenes[None, :, 0]
    named = claims[:, 0, None]
    happens = ((named >> event) & 1).astype(bool)
    place = (claims[:, 2, None] == ANY) | (claims[:, 2, None] == scenes[None, :, 2])
    turns = (claims[:, 3, None] == ANY) | (claims[:, 3, None] == scenes[None, :, 3])
    of_two, two = claims[:, 1, None] == 2, scenes[None, :, 1] == 2
    straight = _look_agrees(claims, 0, scenes, 0)
    second = _look_agrees(claims, 0, scenes, 1)

    one_of_one = ~of_two & ~two & happens & straight & turns
    does_first = (named & _ENTAILED[scenes[:, 0], 0][None]) != 0
    does_second = (named & _ENTAILED[scenes[:, 0], 1][None]) != 0
    one_of_two = ~of_two & two & turns & (straight & does_first | second & does_second)
    crossed = second & _look_agrees(claims, 1, scenes, 0) & (_MUTUAL[scenes[:, 0]][None] | (named == (1 << len(EVENTS)) - 1))
    two_of_two = of_two & two & happens & (straight & _look_agrees(claims, 1, scenes, 1) | crossed)
    return place & (one_of_one | one_of_two | two_of_two)
