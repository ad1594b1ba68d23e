"""What does an order cost on its way out? Asked in venues/sign.py, since it names whose orders."""

from tickpath.engine.bench.venues.sign import measure

__all__ = ["measure"]
