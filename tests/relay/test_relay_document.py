"""docs/relay.md: its example runs against a real relayed feed, its ACL line is the one tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.relay.conftest import until
from tests.relay.test_relay_redis import RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.relay.conftest import Rig, Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "relay.md"


@pytest.mark.needs("redis")
def test_relay_document_example_prints_the_best_bid(
    servers: Callable[..., Server], rigs: Callable[..., Rig], capsys: pytest.CaptureFixture[str]
) -> None:
    server = servers()
    rig = rigs(server.options())
    rig.follow()
    rig.feed.publish_top((6543210, 5), (6543211, 6), 0)
    until(lambda: rig.has_book(0, (6543210, 5)), "the book", rig.turn)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    code = code.replace('host="10.0.0.5"', f"port={server.port}").replace("{mexc", "{" + rig.name)
    exec(compile(code, str(DOCUMENT), "exec"), {})  # noqa: S102 # it is our own page's example
    assert capsys.readouterr().out == "LIVE 65432.1\n"


def test_relay_document_lists_the_rights_that_are_tested() -> None:
    line = re.search(r"ACL SETUSER.*?```", DOCUMENT.read_text(), re.DOTALL)
    assert line
    assert set(re.findall(r"[~&+]\S+", line[0])) == set(RIGHTS)
