"""The grammar: claims about the synthetic world in many words.

A caption is drawn for a claim, never parsed back. The same choices drawn for the reversed claim give the caption of the
reversed footage. Every list starts with the plainest wording, which footage and evaluation use.
"""

from __future__ import annotations

from random import Random

from .scenes import ANY, BACKGROUNDS, COLOURS, EVENT, SHAPES, SIZES, TEXTURES, Claim, Look, Scene

SHAPE_WORDS = {
    "circle": ("circle", "ball", "disc", "disk", "dot", "sphere", "round shape"),
    "square": ("square", "box", "block", "cube", "rectangle"),
    "triangle": ("triangle", "wedge", "pyramid", "cone"),
    "star": ("star", "starfish", "five pointed star"),
    "cross": ("cross", "plus", "plus sign", "x"),
    "ring": ("ring", "hoop", "donut", "doughnut", "loop", "wheel"),
    "heart": ("heart", "valentine", "love heart"),
    "crescent": ("crescent", "moon", "half moon", "crescent moon", "banana"),
}
THING_WORDS = ("object", "shape", "thing", "figure", "item")
COLOUR_WORDS = {
    "red": ("red", "red", "crimson", "scarlet", "bright red"),
    "orange": ("orange", "orange", "orange coloured", "tangerine"),
    "yellow": ("yellow", "yellow", "golden", "gold", "lemon"),
    "green": ("green", "green", "emerald", "dark green"),
    "blue": ("blue", "blue", "navy", "dark blue", "cobalt"),
    "purple": ("purple", "purple", "violet", "lilac"),
    "pink": ("pink", "pink", "rose", "light pink"),
    "white": ("white", "white", "pale", "bright white"),
    "black": ("black", "black", "dark", "jet black"),
}
TEXTURE_WORDS = {
    "striped": ("striped", "stripy", "lined", "banded"),
    "dotted": ("dotted", "spotted", "speckled", "polka dot"),
    "plain": ("plain", "solid", "uniform"),
}
TEXTURE_TAILS = {
    "striped": ("with stripes", "with lines on it", "that has stripes"),
    "dotted": ("with dots", "with spots", "that has dots"),
    "plain": ("without a pattern",),
}
SIZE_WORDS = {"small": ("small", "little", "tiny", "mini"), "large": ("large", "big", "huge", "giant")}
BACKGROUND_WORDS = {
    "grey": ("on a grey background", "on gray", "against a plain grey wall", "over grey", "on a gray background"),
    "sky": ("in the sky", "in a blue sky", "against the sky", "under a cloudy sky", "among clouds", "in the air"),
    "grass": ("on grass", "on the lawn", "on a green field", "over a meadow", "in the grass"),
    "sand": ("on sand", "on the beach", "in the desert", "over sand", "on a sandy beach"),
    "night": ("at night", "in the dark", "in a starry night", "in the night sky", "among stars", "in space"),
    "brick": ("in front of a brick wall", "on bricks", "against a brick wall", "over a wall of bricks"),
    "checker": ("on a checkered floor", "on a chessboard", "over a checkerboard", "on tiles", "on a tiled floor"),
    "snow": ("on snow", "in the snow", "over snow", "on a snowy field", "in winter"),
}

# A verb phrase: verbs that fit, then what may follow them. {b} is the second object, {c} the colour turned to.
Verbs = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
_MOVE = ("move", "go", "travel", "slide", "roll", "drift", "glide", "head", "float", "fly", "run", "walk", "race", "crawl", "shift")
_LEFT = ("to the left", "left", "leftward", "leftwards", "toward the left", "towards the left side", "from right to left", "to the left side", "from the right to the left")
_RIGHT = ("to the right", "right", "rightward", "rightwards", "toward the right", "towards the right side", "from left to right", "to the right side", "from the left to the right")
_CLOCK = ("clockwise", "clock wise", "in clockwise direction", "to the right like a clock")
_COUNTER = ("counterclockwise", "anticlockwise", "counter clockwise", "anti clockwise", "against the clock")
PHRASES: dict[str, Verbs] = {
    "left": ((_MOVE, _LEFT),),
    "right": ((_MOVE, _RIGHT),),
    "up": (
        (("move", "go", "travel", "float", "fly", "drift", "glide", "head", "slide", "shift"), ("up", "upward", "upwards", "to the top", "towards the top", "from bottom to top", "from the bottom to the top")),
        (("rise", "climb", "ascend", "lift", "soar"), ("", "up", "slowly", "to the top")),
    ),
    "down": (
        (("move", "go", "travel", "float", "fly", "drift", "glide", "head", "slide", "shift"), ("down", "downward", "downwards", "to the bottom", "towards the bottom", "from top to bottom", "from the top to the bottom")),
        (("fall", "drop", "sink", "descend"), ("", "down", "slowly", "to the bottom", "to the ground")),
    ),
    "spin_clockwise": ((("spin", "rotate", "turn", "revolve", "whirl", "twirl"), _CLOCK),),
    "spin_counter": ((("spin", "rotate", "turn", "revolve", "whirl", "twirl"), _COUNTER),),
    "grow": ((("grow", "expand", "swell", "inflate", "enlarge"), ("", "larger", "bigger", "in size")), (("get", "become", "turn"), ("bigger", "larger", "larger and larger", "huge"))),
    "shrink": ((("shrink", "contract", "deflate", "dwindle"), ("", "smaller", "in size")), (("get", "become", "turn"), ("smaller", "tiny", "smaller and smaller", "little"))),
    "appear": ((("appear", "emerge", "materialise", "materialize"), ("", "suddenly", "out of nowhere", "from nothing")), (("pop", "show", "turn"), ("up",)), (("come", "fade"), ("into view", "in", "into sight")), (("become",), ("visible",))),
    "disappear": ((("disappear", "vanish"), ("", "suddenly", "into nowhere", "into nothing", "completely")), (("fade", "go"), ("away", "out", "out of sight", "from view")), (("become",), ("invisible",))),
    "recolour": ((("turn", "become", "go"), ("{c}",)), (("change",), ("to {c}", "colour to {c}", "color to {c}", "into {c}")), (("switch",), ("to {c}",))),
    "orbit_clockwise": ((_MOVE[:10] + ("swing",), ("in a circle clockwise", "clockwise in a circle", "around in circles clockwise", "clockwise around the middle", "around clockwise")), (("circle", "orbit", "loop"), _CLOCK[:3])),
    "orbit_counter": ((_MOVE[:10] + ("swing",), ("in a circle counterclockwise", "counterclockwise in a circle", "anticlockwise in a circle", "around in circles anticlockwise", "counter clockwise around the middle", "around counterclockwise")), (("circle", "orbit", "loop"), _COUNTER[:4])),
    "still": ((("stay", "stand", "remain", "keep"), ("still", "motionless", "in place", "where it is")), (("do",), ("nothing", "not move")), (("rest", "wait", "sit"), ("", "quietly", "without moving"))),
    "bounce": ((("bounce", "hop", "jump"), ("", "up and down")), (("move", "go"), ("up and down",)), (("bob",), ("up and down",))),
    "shake": ((("shake", "wobble", "sway", "swing", "oscillate"), ("from side to side", "left and right", "back and forth", "sideways", "")), (("move", "go", "slide"), ("left and right", "from side to side", "back and forth"))),
    "blink": ((("blink", "flash", "flicker"), ("", "on and off", "again and again")), (("go", "switch"), ("on and off",))),
    "approach": ((("approach", "meet"), ("{b}", "each other and {b}")), (("come",), ("close to {b}", "together with {b}"))),
    "part": ((("leave",), ("{b}",)), (("move", "drift", "go", "fly"), ("apart from {b}", "away from {b}")), (("separate", "part"), ("from {b}",))),
    "collide": ((("collide", "crash"), ("with {b}", "against {b}")), (("hit", "bump", "strike"), ("{b}", "against {b}")), (("bump", "bounce", "run"), ("into {b}", "off {b}"))),
    "chase_left": ((("chase", "follow", "pursue"), tuple(f"{{b}} {way}" for way in _LEFT)), (("run", "go", "move"), tuple(f"after {{b}} {way}" for way in _LEFT[:5]))),
    "chase_right": ((("chase", "follow", "pursue"), tuple(f"{{b}} {way}" for way in _RIGHT)), (("run", "go", "move"), tuple(f"after {{b}} {way}" for way in _RIGHT[:5]))),
    "circle_clockwise": ((("circle", "orbit"), ("{b} clockwise", "around {b} clockwise", "clockwise around {b}")), (("move", "go", "fly", "revolve", "run"), ("around {b} clockwise", "clockwise around {b}"))),
    "circle_counter": ((("circle", "orbit"), ("{b} counterclockwise", "around {b} anticlockwise", "counterclockwise around {b}", "{b} counter clockwise")), (("move", "go", "fly", "revolve", "run"), ("around {b} counterclockwise", "anticlockwise around {b}", "counter clockwise around {b}"))),
    "hide": ((("hide",), ("behind {b}",)), (("disappear", "vanish", "slip"), ("behind {b}",)), (("move", "go", "slide"), ("behind {b}",))),
    "emerge": ((("emerge", "appear", "come", "slide", "move"), ("from behind {b}",)), (("come",), ("out from behind {b}", "out behind {b}"))),
    "rise_fall": ((("rise",), ("while {b} falls", "as {b} sinks", "while {b} goes down", "and {b} falls")), (("move", "go"), ("up while {b} moves down", "up while {b} goes down", "up and {b} down"))),
}
# Ways to say an event between two objects that has no roles: both are the subject.
MUTUAL_PHRASES: dict[str, Verbs] = {
    "approach": ((("move", "come", "go", "drift"), ("toward each other", "towards each other", "together", "closer together")), (("approach",), ("each other",))),
    "part": ((("move", "drift", "go", "fly"), ("apart", "away from each other", "apart from each other")), (("separate", "part"), ("", "from each other"))),
    "collide": ((("collide", "crash"), ("", "with each other", "together")), (("bump", "crash", "bounce"), ("into each other", "off each other")), (("hit",), ("each other",))),
}
# Ways to say one of several events without telling which.
VAGUE: dict[tuple[str, ...], Verbs] = {
    ("left", "right"): ((("move", "go", "slide"), ("sideways", "horizontally", "across")),),
    ("up", "down"): ((("move", "go"), ("vertically",)),),
    ("spin_clockwise", "spin_counter"): ((("spin", "rotate", "turn", "whirl"), ("", "around", "on the spot")),),
    ("orbit_clockwise", "orbit_counter"): ((("move", "go", "fly"), ("in a circle", "in circles", "around")),),
    ("grow", "shrink"): ((("change",), ("size", "its size")),),
    ("left", "right", "up", "down", "orbit_clockwise", "orbit_counter", "bounce", "shake"): ((("move",), ("", "around")),),
    ("chase_left", "chase_right"): ((("chase", "follow", "pursue"), ("{b}",)), (("run",), ("after {b}",))),
    ("circle_clockwise", "circle_counter"): ((("circle", "orbit"), ("{b}", "around {b}")), (("go", "move"), ("around {b}",))),
}
OPENINGS = ("a video of", "a clip of", "there is", "footage of", "we see", "the moment when", "scene where", "find", "show me")
_IRREGULAR = {"go": "goes", "do": "does", "fly": "flies"}
_DOUBLED = ("run", "spin", "drop", "get", "pop", "hop", "bob", "hit", "sit", "slip")


def third(verb: str) -> str:
    """move → moves"""
    return _IRREGULAR.get(verb) or verb + ("es" if verb.endswith(("sh", "ch")) else "s")


def ing(verb: str) -> str:
    """move → moving"""
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return verb.removesuffix("e") + "ing"


def draw_claim(scene: Scene, rng: Random) -> Claim:
    """Something true of the scene: mostly all that matters, sometimes as little as a person might type."""
    events, turns_to = (scene.event,), scene.turns_to
    chance = rng.random()
    if chance < 0.06:
        events, turns_to = (), ANY
    elif chance < 0.12:
        events = rng.choice([names for names in VAGUE if scene.event in names] or [events])
    resized = scene.event in ("grow", "shrink")
    looks = []
    for look in scene.looks:
        # A claim that names no event names the object, and the rest names it nearly always.
        shape = look.shape if not events or rng.random() < 0.9 else ANY
        colour = look.colour if not events or rng.random() < 0.9 else ANY
        texture = look.texture if rng.random() < (0.05 if look.texture == 0 else 0.4) else ANY
        size = look.size if rng.random() < 0.25 and not resized and len(scene.looks) == 1 else ANY
        looks.append(Look(shape, colour, texture, size))
    background = scene.background if rng.random() < 0.3 else ANY
    return Claim(events, tuple(looks), background, turns_to)


def full_claim(scene: Scene, texture: bool = False, background: bool = False) -> Claim:
    """Colour, shape and event; more where asked."""
    looks = tuple(Look(look.shape, look.colour, look.texture if texture and look.texture else ANY) for look in scene.looks)
    return Claim((scene.event,), looks, scene.background if background else ANY, scene.turns_to)


class Speaker:
    """Puts claims into words. `rng` None: always the first, plainest wording."""

    def __init__(self, rng: Random | None) -> None:
        self.rng = rng

    def caption(self, claim: Claim) -> str:
        words = [self._sentence(claim)]
        if claim.background != ANY:
            words.append(self._pick(BACKGROUND_WORDS[BACKGROUNDS[claim.background]]))
            if self._chance(0.1):
                words.reverse()
        if self._chance(0.12):
            words.insert(0, self._pick(OPENINGS))
        return " ".join(word for word in words if word)

    def _pick(self, options: tuple) -> object:
        return self.rng.choice(options) if self.rng else options[0]

    def _chance(self, share: float) -> bool:
        return bool(self.rng) and self.rng.random() < share

    def _noun(self, look: Look, before: str = "") -> str:
        """An object: "a small striped red ball", "something", "red square with dots"."""
        if look == Look() and not before and self._chance(0.5):
            return "something" if self._chance(0.8) else "it"
        tail = ""
        words = ["a"]
        if self._chance(0.35):
            words = [self._pick(("the", "one", ""))]
        if before:
            words.append(before)
        if look.size != ANY:
            words.append(self._pick(SIZE_WORDS[SIZES[look.size]]))
        if look.texture != ANY:
            texture = TEXTURES[look.texture]
            if self._chance(0.3):
                tail = self._pick(TEXTURE_TAILS[texture])
            else:
                words.append(self._pick(TEXTURE_WORDS[texture]))
        if look.colour != ANY:
            words.append(self._pick(COLOUR_WORDS[COLOURS[look.colour]]))
        words.append(self._pick(SHAPE_WORDS[SHAPES[look.shape]] if look.shape != ANY else THING_WORDS))
        words.append(tail)
        # Written without an article's "an": people mix them up, and the tokenizer knows both.
        text = " ".join(word for word in words if word)
        return "an" + text[1:] if text.startswith("a ") and text[2] in "aeiou" else text

    def _predicate(self, phrases: Verbs, claim: Claim, plural: bool = False) -> str:
        """A verb phrase with its verb in one of the forms that captions use."""
        verbs, ends = self._pick(phrases)
        verb, end = self._pick(verbs), self._pick(ends)
        form = self.rng.random() if self.rng else 0.0
        if form < 0.45:
            said = verb if plural else third(verb)
        elif form < 0.7:
            said = ("are " if plural else "is ") + ing(verb)
        else:
            said = ing(verb)
        if "{b}" in end:
            end = end.replace("{b}", self._noun(claim.looks[1]))
        if "{c}" in end:
            end = end.replace("{c}", self._pick(COLOUR_WORDS[COLOURS[claim.turns_to]]))
        return f"{said} {end}".strip()

    def _sentence(self, claim: Claim) -> str:
        if not claim.events:
            return self._pick((" and ", " with ", " next to ")).join(self._noun(look) for look in claim.looks)
        event = EVENT[claim.events[0]]
        if len(claim.events) > 1:
            phrases = VAGUE[claim.events]
        elif event.mutual and (self.rng is None or self._chance(0.7)):
            both = " and ".join(self._noun(look) for look in claim.looks)
            return f"{both} {self._predicate(MUTUAL_PHRASES[event.name], claim, plural=True)}"
        else:
            phrases = PHRASES[event.name]
            bare = [verb for verbs, ends in phrases if "" in ends for verb in verbs]
            if bare and self._chance(0.12):
                return self._noun(claim.looks[0], before=ing(self._pick(tuple(bare))))
        return f"{self._noun(claim.looks[0])} {self._predicate(phrases, claim)}"


def vocabulary() -> list[str]:
    """Every word that the grammar can say, sorted."""
    texts = [*THING_WORDS, *OPENINGS, "something it a an the one is are and with next to while as falls sinks goes moves down"]
    for table in (SHAPE_WORDS, COLOUR_WORDS, TEXTURE_WORDS, TEXTURE_TAILS, SIZE_WORDS, BACKGROUND_WORDS):
        texts += [text for options in table.values() for text in options]
    for phrases in (*PHRASES.values(), *MUTUAL_PHRASES.values(), *VAGUE.values()):
        for verbs, ends in phrases:
            texts += [form for verb in verbs for form in (verb, third(verb), ing(verb))]
            texts += [end.replace("{b}", "").replace("{c}", "") for end in ends]
    return sorted({word for text in texts for word in text.split()})
