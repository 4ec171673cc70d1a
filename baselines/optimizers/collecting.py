"""Collecting trials that a method of the training track trains: what a predictor that rides on it is fitted on."""

from __future__ import annotations

from functools import partial

from ...registry.collection.processes import train_blocks
from ...registry.collection_config import CollectionConfig, CollectionMethod
from ...rl import Optimizer
from ...utils.engines.work import Message, Send
from .lookup import build_optimizer


def build_method(method: CollectionMethod) -> Optimizer:
    """The optimizer, with its outer rules, that a collection names; raises as `build_optimizer`."""
    return build_optimizer(method.optimizer, method.outer, method.settings)


def train_with_method(task: Message, send: Send) -> None:
    """What a process does that collects trials under a method; see `collect_side_by_side`."""
    method = CollectionConfig.model_validate(task["config"]).method
    train_blocks(task, send, partial(build_method, method) if method else None)
