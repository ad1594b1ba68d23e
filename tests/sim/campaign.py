"""Campaigns of faults in virtual time: each seed is another deployment with other misfortunes.

    python -m tests.sim.campaign --venue kraken --runs 1000 --seed 5000

A run becomes LIVE, suffers for FAULTS_S, must be LIVE again within what the rules allow, and every
LIVE book that a reader saw meanwhile must have been the venue's own (deployment.py). `mixed` is
three venues in one feed handler, `all` takes turns. A run that fails prints its venue and seed,
which alone make it again, and leaves its story in a file; the exit status is 1 then.
Used by: test_campaign.py (a few seeds each), `make campaign`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import lib
from tickpath.engine.feed_handler.list_reader import JITTER, LEAST_S, RETRY_FIRST_S
from tickpath.engine.feed_handler.verification import within_s
from tickpath.engine.sim.exchange import DRIP_S
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venues import pair_symbol

from tests.sim import members
from tests.sim.deployment import (
    DROP_S,
    LAG_MAX_S,
    LIST_EVERY_S,
    RECOVERY_S,
    Deployment,
    Setup,
    book_rule,
)
from tests.venues.outside import install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.sim.dialect import Dialect

MIXED = "mixed"
MIXED_COUNT = 3
NAMES = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT")
SYMBOLS_MAX = 3
# A venue that says "unchanged" by itself does so within the campaign's seconds.
SETTINGS: dict[str, dict[str, Any]] = {"okx": {"unchanged_s": 1.0}}
FAULTS_S = 8.0
# {}: a symbol. Those of INSTRUMENT may name one, or else are of all.
INSTRUMENT = ("gap", "garbage", "crossed", "duplicate", "scale", "old", "swap", "cut", "renumber")
REST = (
    *("rest-late:2", "rest-late:8", "rest-limit:3", "rest-error", "rest-malformed", "rest-old"),
    *("rest-doubled", "rest-rows"),
)
REQUEST = ("unanswered", "answer-late:2", "answer-late:12", "answer-cut")
CONNECTION = (
    *("disconnect", "half-frame", "drip", "ping-flood", "close", "close:1008", "close:1013"),
    *("silent", "upgrade-limit:3"),
)
PROCESS = ("reload", "restart", "kill")
ONCE = (*INSTRUMENT, *INSTRUMENT, *REST, *REQUEST, *CONNECTION, *CONNECTION, *PROCESS)
PHASES = (
    *(("pause", "resume"), ("refuse:{}", "accept:{}"), ("down", "up")),
    *(("damage", "whole"), ("unplug", "plug"), ("mute:{}", "unmute:{}")),
    *(("halt:{}", "reopen:{}"), ("delist:{}", "relist:{}"), ("deafen:{}", "hear:{}")),
)
RENUMBERED_AGAIN = "renumber twice"
LINGERS = frozenset({"drip", "half-frame", "silent"})
LINGER_S = DROP_S + DRIP_S  # what they do to a connection is over, or it is dropped
ARRIVAL_S = 0.5  # the last fault may be a message that is missed when the next one comes
# They wait for a book's next message, which comes late where changes are rare.
NEXT_MESSAGE = frozenset({"gap", "swap", "cut", "flip", "scale"})
UNLISTED = frozenset({"rest-limit", "rest-error", "rest-malformed"})
LISTED = UNLISTED | {"halt", "delist", "rest-old", "reload"}
UNHEARD_S = 65.0  # a subscription that was not answered, or brought nothing, is made anew
DEPTH_WHOLE = 1000  # of a base that shows all that the market has
FRAMES_DAMAGED = 10_000  # millionths


@dataclass(slots=True)
class Misfortune:
    """What goes wrong in one run, and when: all of it is over after FAULTS_S."""

    deployment: Deployment
    kinds: set[str] = field(default_factory=set)
    unlisted: int = 0
    """How often a list may be spoiled."""
    old_lists: int = 0
    """How often a list may be one of before, which is followed until the next."""
    wanted: list[tuple[str, ...]] = field(default_factory=list)
    """The symbols of each venue's section, as they are to be in the end."""

    def __post_init__(self) -> None:
        """Begin with what the deployment was set up with."""
        self.wanted = [one.symbols for one in self.deployment.setup.chain()]

    def draw(self) -> None:
        """Choose by the deployment's seed."""
        generator = random.Random(self.deployment.setup.seed)
        setups = self.deployment.setup.chain()
        for _ in range(generator.randrange(1, 4 + 3 * len(setups))):
            venue = generator.randrange(len(setups))
            at_s, symbol = generator.uniform(0, FAULTS_S), generator.choice(setups[venue].symbols)
            if generator.random() < 0.7:
                self._draw_once(generator, at_s, venue, symbol)
            else:
                begin, end = (text.format(symbol) for text in generator.choice(PHASES))
                self.plan(at_s, begin, venue)
                self.plan(generator.uniform(at_s, FAULTS_S), end, venue)
        for venue, setup in enumerate(setups):
            several = setup.race > 1 or setup.overlap
            for _ in range(generator.randrange(1, 5) if several else 0):
                self._harm_member(generator.uniform(0, FAULTS_S), venue, generator)
            for _ in range(generator.randrange(1, 4) if setup.overlap else 0):
                self._hand_over(generator.uniform(0, FAULTS_S), venue)

    def _hand_over(self, at_s: float, venue: int) -> None:
        """Have the connections of a venue replaced by their successors, as if they were old."""
        deployment = self.deployment

        def do() -> None:
            handler = deployment.feed_handler
            deployment.tell(f"hand-over at venue {venue}")
            for number in handler.venues[venue].connections:
                if number < len(handler.connections.slots):
                    handler.connections.replace_soon(number)

        deployment.later(at_s, do)

    def _harm_member(self, at_s: float, venue: int, generator: random.Random) -> None:
        kind, deployment = generator.choice(members.KINDS), self.deployment
        self.kinds |= {kind, members.ALIKE.get(kind, kind)}

        def do() -> None:
            deployment.tell(f"fault {kind} of one connection at venue {venue}")
            members.harm(deployment.exchanges[venue], kind, generator)

        deployment.later(at_s, do)

    def _draw_once(self, generator: random.Random, at_s: float, venue: int, symbol: str) -> None:
        kind = generator.choice((*ONCE, *possible(self.deployment.setup.chain()[venue])))
        is_named = kind in (*INSTRUMENT, "base", "flip") and generator.random() < 0.7
        self.plan(at_s, f"{kind}:{symbol}" if is_named else kind, venue)
        # What harms a base or an answer hits nobody unless one is asked for.
        if kind in (*REST, *REQUEST) and generator.random() < 0.8:
            self.plan(at_s, generator.choice(("gap", "disconnect")), venue)

    def plan(self, at_s: float, text: str, venue: int = 0) -> None:
        """Have something happen so long from now."""
        kind = text.partition(":")[0]
        if kind == "renumber" and kind in self.kinds:
            self.kinds.add(RENUMBERED_AGAIN)
        self.kinds.add(kind)
        self.unlisted += kind in UNLISTED
        self.old_lists += kind == "rest-old"
        acts: dict[str, Callable[[], None]] = {
            "down": partial(self._reach, False),
            "up": partial(self._reach, True),
            "unplug": partial(self._plug, "no carrier"),
            "plug": partial(self._plug, ""),
            "damage": partial(self._damage, FRAMES_DAMAGED),
            "whole": partial(self._damage, 0),
            "reload": partial(self._reload, venue),
            "restart": partial(self._end, in_order=True),
            "kill": partial(self._end, in_order=False),
        }
        act = acts.get(text)
        if act is None:
            self.deployment.later(at_s, lambda: self.deployment.order(text, venue))
            return

        def do() -> None:
            self.deployment.tell(f"fault {text}")
            act()

        self.deployment.later(at_s, do)

    def _reach(self, is_reachable: bool) -> None:
        self.deployment.transport.is_reachable = is_reachable
        for venue in range(0 if is_reachable else len(self.deployment.exchanges)):
            self.deployment.order("disconnect", venue)

    def _plug(self, trouble: str) -> None:
        self.deployment.link.trouble = trouble
        self._damage(lib.TP_FAULT_CERTAIN if trouble else 0)

    def _damage(self, millionths: int) -> None:
        self.deployment.transport.damage(millionths)

    def _reload(self, venue: int) -> None:
        setup, generator = self.deployment.setup.chain()[venue], self.deployment.random
        listed = setup.listed or setup.symbols
        self.wanted[venue] = tuple(generator.sample(listed, generator.randrange(1, len(listed))))
        self.deployment.tell(f"symbols of venue {venue}: {', '.join(self.wanted[venue])}")
        configure(self.deployment, self.wanted)

    def _end(self, *, in_order: bool) -> None:
        self.deployment.restart_due = "in order" if in_order else "at once"

    def rest_s(self) -> float:
        """Return how long what was begun may go on after FAULTS_S."""
        return LINGER_S if self.kinds & LINGERS else ARRIVAL_S

    def lag_max_s(self) -> float:
        """Return how old a LIVE book may be meanwhile.

        The last message may have dripped, and nothing follow it: then it is LIVE until a proof of
        it is due.
        """
        late_s = DRIP_S * ("drip" in self.kinds)
        return max(LAG_MAX_S, late_s + quiet_max_s(self.deployment))

    def recovery_s(self) -> float:
        """Return within what time all books must be LIVE then, by the rules."""
        list_s = self._list_s() * bool(self.kinds & LISTED)
        unheard = self.kinds & {"deafen", "unanswered", "answer-cut", "answer-late", "refuse"}
        return RECOVERY_S + list_s + UNHEARD_S * bool(unheard)

    def _list_s(self) -> float:
        """Return how long it may take until a list came that was spoiled so often."""
        every_s = self.deployment.setup.list_every_s
        tries = (min(every_s, RETRY_FIRST_S * 2.0**n) for n in range(self.unlisted))
        return LEAST_S + (1.0 + 2 * JITTER) * ((1 + self.old_lists) * every_s + sum(tries))


def possible(setup: Setup) -> tuple[str, ...]:
    """Return the kinds of faults that only some venues' rules can meet, or notice."""
    rule, some = book_rule(setup), list[str]()
    if rule.base != lib.TP_BASE_REST:
        some += ["base"] * 2
    # A digit that is another one is noticed where all levels are within the checksum.
    if rule.checksum == lib.TP_CHECKSUM_TEN and rule.depth <= 10:
        some += ["flip"] * 3
    return tuple(some)


def configure(deployment: Deployment, wanted: Sequence[tuple[str, ...]]) -> None:
    """Edit the symbols of each venue, and have the configuration read anew."""
    config = deployment.feed_handler.config
    venues = tuple(
        msgspec.structs.replace(venue, symbols=symbols)
        for venue, symbols in zip(config.venues, wanted, strict=True)
    )
    deployment.feed_handler.take_config(msgspec.structs.replace(config, venues=venues))


def settings_of(dialect: type[Dialect], **more: Any) -> Any:
    """Return a venue's settings as campaigns have them; None: its own."""
    words = SETTINGS.get(dialect.venue.name, {}) | more
    return msgspec.convert(words, dialect.venue.settings) if words else None


def random_setup(seed: int, directory: Path, venue: str, **fields: Any) -> Setup:
    """Make up a deployment; `mixed`: of three venues."""
    generator = random.Random(f"setup {venue} {seed}")
    if venue != MIXED:
        return _one_venue(generator, seed, directory, venue, **fields)
    names = generator.sample(dialect_names(), MIXED_COUNT)
    setups = [_one_venue(generator, seed, directory, name, **fields) for name in names]
    first, second, third = setups
    return replace(first, beside=replace(second, beside=third))


def _one_venue(
    generator: random.Random, seed: int, directory: Path, name: str, **fields: Any
) -> Setup:
    dialect = load_dialect(name)
    listed = tuple(pair_symbol(dialect.venue, parse_symbol(one)) for one in NAMES)
    setup = Setup(
        seed=seed,
        directory=directory,
        dialect=dialect,
        symbols=listed[: generator.randrange(1, SYMBOLS_MAX + 1)],
        listed=listed,
        rate=generator.choice((10.0, 40.0, 120.0)),
        depth=generator.choice((25, 60, 200)),
        quiet_s=3.0,
        list_every_s=generator.choice((2.0, LIST_EVERY_S)),
        **{"settings": settings_of(dialect)} | fields,
    )
    setup = replace(setup, race=draw_race(setup))
    setup = replace(setup, overlap=draw_overlap(setup))
    # Bases that show less than the book has; a venue that keeps its books to a depth has its own.
    if hasattr(dialect.venue.settings(), "depth") and book_rule(setup).base == lib.TP_BASE_REST:
        depth = generator.choice((20, 50, DEPTH_WHOLE))
        return replace(setup, settings=settings_of(dialect, depth=depth))
    return setup


def can_race(setup: Setup) -> bool:
    """Say whether the venue's numbers let several connections carry a book."""
    rule = book_rule(setup)
    return bool(rule.copies == lib.TP_COPIES_BY_NUMBER and rule.base != lib.TP_BASE_REQUEST)


def draw_race(setup: Setup) -> int:
    """Choose over how many connections it is read; not by the generator of all else."""
    if not can_race(setup):
        return 1
    return random.Random(f"race {setup.dialect.venue.name} {setup.seed}").choice((1, 1, 2, 3))


def draw_overlap(setup: Setup) -> bool:
    """Choose whether a connection that is read alone has a successor; as `draw_race`."""
    generator = random.Random(f"overlap {setup.dialect.venue.name} {setup.seed}")
    return setup.race == 1 and can_race(setup) and generator.random() < 0.5


def check_counters(deployment: Deployment, kinds: set[str]) -> None:
    """Hold what was counted to what was done; at the end, before the stop."""
    feed, hot = deployment.counters, deployment.feed_handler.hot.loop.counters
    there = sum(one.counters.connections for one in deployment.exchanges)
    open_count = sum(slot.open for slot in deployment.feed_handler.connections.slots)
    # A client that no reset reached keeps a connection until its silence is noticed.
    surplus = max(0, there - open_count) if "damage" in kinds else there - open_count
    broken = kinds & {"garbage", "cut", "flip", "answer-cut"}
    lost = kinds & {"gap", "mute", "cut", "flip", "swap", "old", "renumber", "deafen"}
    # A message twice is as good as a hole where all of a connection are counted.
    if any(book_rule(one).counts_connection for one in deployment.setup.chain()):
        lost |= kinds & {"duplicate"}
    late = kinds & {"answer-late", "unanswered", "answer-cut"}
    races = any(one.race > 1 or one.overlap for one in deployment.setup.chain())
    impossible = {
        # What is said just as the connection ends is of no use any more.
        "texts_unsent": hot.texts_unsent * (hot.disconnects == 0),
        "inbox_full": hot.inbox_full,
        "unknown_channel": feed.unknown_channel * (not broken and "reload" not in kinds),
        "unreadable": feed.unreadable * (not broken),
        "bases_refused": feed.bases_refused,
        "overflows": feed.overflows,
        "broken": feed.broken * (not broken),
        # A line that lags behind two restarts brings numbers that a base of the last one has too.
        "crossed": feed.crossed * (not kinds & {"crossed", RENUMBERED_AGAIN}),
        # A member that stalls is not waited for, which is a gap too.
        "gaps": feed.gaps * (not lost and not late and not races),
        "different": feed.checks_different,
        "checksums": feed.checksums * (not lost and not late and "scale" not in kinds),
        "open": hot.connects - hot.disconnects - open_count,
        # A venue that no reset reached keeps the connection that its client gave up.
        # One that lags may close before its last words are out.
        "open there": surplus * (not races and not kinds & {"unplug", "restart", "kill"}),
        "from nobody": max(0, feed.messages - hot.messages),
    }
    wrong = {name: int(value) for name, value in impossible.items() if value}
    if wrong:
        raise deployment.failure(f"counters that cannot be: {wrong}")
    if hot.connects < 1:
        raise deployment.failure("nothing was ever connected")


def is_whole(deployment: Deployment, wanted: Sequence[tuple[str, ...]]) -> bool:
    """Say whether all books that are wanted are LIVE, and nothing else is subscribed to."""
    for venue, symbols in zip(deployment.feed_handler.venues, wanted, strict=True):
        if {one for one in venue.plan.symbols if one is not None} != set(symbols):
            return False
        named = (deployment.name(venue.number, symbol) for symbol in symbols)
        if not all(map(deployment.is_live_by_name, named)):
            return False
    return True


def quiet_max_s(deployment: Deployment) -> float:
    """Return for how long a book whose messages do not come may be LIVE, of the slowest venue."""
    health = deployment.feed_handler.config.health
    venues = deployment.feed_handler.venues
    return 0.1 + max(within_s(of.config, health, len(NAMES)) for of in venues)


def has_small_bases(setup: Setup) -> bool:
    """Say whether bases show so little that the books soon wait for the next one, as they may."""
    return any(getattr(one.settings, "depth", DEPTH_WHOLE) < DEPTH_WHOLE for one in setup.chain())


def live_through(deployment: Deployment) -> None:
    """Go LIVE, suffer, come back, stop; some suffer before they were ever LIVE."""
    misfortune = Misfortune(deployment)
    if deployment.setup.seed % 4 and not deployment.run(RECOVERY_S, deployment.are_live):
        raise deployment.failure("never became LIVE")
    misfortune.draw()
    deployment.lag_max_s = misfortune.lag_max_s()
    deployment.run(FAULTS_S + misfortune.rest_s())
    recovery_s = misfortune.recovery_s()
    if not deployment.run(recovery_s, lambda: is_whole(deployment, misfortune.wanted)):
        raise deployment.failure(f"not LIVE {recovery_s:.0f} s after all was over")
    deployment.run(1.0)
    stays = is_whole(deployment, misfortune.wanted)
    # A late answer may come only now, and be a hole or a base of before.
    if not stays and misfortune.kinds & (NEXT_MESSAGE | {"answer-late"}):
        stays = deployment.run(recovery_s, lambda: is_whole(deployment, misfortune.wanted))
    if not stays and not has_small_bases(deployment.setup):
        raise deployment.failure("did not stay LIVE")
    check_counters(deployment, misfortune.kinds)
    deployment.stop()


def suffer(setup: Setup) -> None:
    """Make one run; raises DeploymentError, with its story."""
    deployment = Deployment(setup)
    try:
        live_through(deployment)
    finally:
        deployment.close()
    left = [path.name for path in setup.directory.iterdir()]
    if left:
        raise deployment.failure(f"left in shared memory: {left}")


# ---- the command ---------------------------------------------------------------------------------


def run_one(venue: str, seed: int, stories: Path) -> bool:
    """Make one run in a folder of its own; say what failed, and return whether it was right."""
    with tempfile.TemporaryDirectory(prefix="tickpath-campaign-", dir="/dev/shm") as name:
        try:
            suffer(random_setup(seed, Path(name), venue))
        except Exception as error:
            stories.mkdir(parents=True, exist_ok=True)
            story = stories / f"{venue}-{seed}.txt"
            story.write_text(traceback.format_exc())
            print(f"FAILED --venue {venue} --seed {seed}: {str(error).splitlines()[:1]}: {story}")
            return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaign that the command line names."""
    install()
    parser = argparse.ArgumentParser(prog="python -m tests.sim.campaign")
    kinds = (*dialect_names(), MIXED)
    parser.add_argument("--venue", choices=(*kinds, "all"), default="all")
    parser.add_argument("--runs", type=int, default=100, help="of each (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first (default %(default)s)")
    parser.add_argument("--stories", type=Path, default=Path("build/campaign"))
    args = parser.parse_args(argv)
    venues = kinds if args.venue == "all" else (args.venue,)
    began, failed, count = time.process_time(), 0, 0
    for seed in range(args.seed, args.seed + args.runs):
        for venue in venues:
            failed += not run_one(venue, seed, args.stories)
            count += 1
        if count % 50 < len(venues):
            print(f"{count} runs, {failed} failed, {time.process_time() - began:.0f} s of CPU")
            sys.stdout.flush()
    print(f"{count} runs of {', '.join(venues)} from seed {args.seed} on: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
