"""Serving a model over HTTP with an engine that exists: which one, starting it, asking it once, stopping it."""

from backcast.lm.serving.choice import ENGINES, Choice, choose
from backcast.lm.serving.server import Server, Serving

__all__ = ["ENGINES", "Choice", "Server", "Serving", "choose"]
