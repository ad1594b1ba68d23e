"""[[strategy]] in an instance's file: what it may say, and what is refused with the reason."""

from __future__ import annotations

import pytest
from tickpath.engine.config.check import parse_config
from tickpath.engine.config.schema import INLINE_NATIVE, SPLIT, StrategyConfig
from tickpath.shm.errors import LocalError

VENUE = '[[venue]]\nsymbols = ["BTCUSDT", "ETHUSDT"]\n'
INLINE = (
    '[[strategy]]\nname = "a"\nsource = "a.so:a"\nplacement = "inline-native"\n'
    "trust_strategy = true\n"
)


def test_strategy_is_split_where_nothing_else_is_said() -> None:
    (one,) = parse_config(VENUE + '[[strategy]]\nname = "a"\nsource = "a.py:A"\n').strategies
    assert one == StrategyConfig(name="a", source="a.py:A", placement=SPLIT)


def test_strategy_inline_has_parameters_of_both_kinds() -> None:
    text = INLINE + 'parameters = { n = 9007199254740993, x = 0.5 }\ninstruments = ["BTCUSDT"]\n'
    (one,) = parse_config(VENUE + text).strategies
    assert (one.placement, one.instruments) == (INLINE_NATIVE, ("BTCUSDT",))
    assert one.parameters == {"n": 9007199254740993, "x": 0.5}


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("trust_strategy = true", "", r"strategy\[0\].placement .* trust_strategy = true beside"),
        ('"inline-native"', '"inline"', 'expected one of "inline-native", "split"'),
        ("a.so:a", "a.so", r"strategy\[0\].source is .*expected file.py:Class"),
        ('name = "a"', 'name = "a/b"', r"strategy\[0\].name is "),
        ("trust", 'instruments = ["XRPUSDT"]\ntrust', r"instruments\[0\] .* a symbol of a"),
        ("trust", 'instruments = ["okx:BTCUSDT"]\ntrust', r"instruments\[0\] "),
        ('"inline-native"', '"split"\ninstruments = ["BTCUSDT"]', r"instruments .* which sees all"),
        ("trust", 'parameters = { n = "x" }\ntrust', "expected an integer or a number"),
        ("trust", "parameters = { n = true }\ntrust", "expected an integer or a number"),
        ("trust", "params = { n = 1 }\ntrust", "expected no such key"),
        ("[[strategy]]", f"{INLINE}[[strategy]]", "each name once"),
    ],
)
def test_strategy_that_cannot_be_is_refused(was: str, now: str, told: str) -> None:
    assert was in INLINE
    with pytest.raises(LocalError, match=told):
        parse_config(VENUE + INLINE.replace(was, now, 1))


def test_strategies_inline_are_at_most_sixteen() -> None:
    many = "".join(INLINE.replace('"a"', f'"a{i}"') for i in range(17))
    with pytest.raises(LocalError, match="17 inline strategies, expected at most 16"):
        parse_config(VENUE + many)
