"""Every test here asks the venue of the tests too; the parameters of tests are made at import."""

from __future__ import annotations

from tests.venues.outside import install

_PLACE = install()  # kept: the folder lives as long as the run
