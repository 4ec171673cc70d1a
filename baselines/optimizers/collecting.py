"""Collecting trials that a method of the training track trains: what a predictor that rides on it is fitted on."""

from __future__ import annotations

import hashlib
import platform
from functools import partial

from ...registry.collection.processes import Trainer, train_blocks
from ...registry.collection_config import CollectionConfig, CollectionMethod
from ...rl import Optimizer
from ...utils.canonical import canonical_json
from ...utils.engines.work import Message, Send
from .lookup import build_optimizer, rule_code


def build_method(method: CollectionMethod) -> Optimizer:
    """The optimizer, with its outer rules, that a collection names; raises as `build_optimizer`."""
    return build_optimizer(method.optimizer, method.outer, method.settings)


def code_versions(method: CollectionMethod) -> dict[str, str]:
    """The package that a method comes from, its version and a digest of its files; empty for one of this package's."""
    code = rule_code((method.optimizer, *method.outer))
    if code is None or code.distribution is None:
        return {}
    digest = hashlib.sha256(canonical_json(code.files).encode()).hexdigest()
    return {code.distribution: f"{code.version}, files {digest[:12]}"}


def method_trainer(method: CollectionMethod) -> Trainer:
    """What trains the blocks of a collection with a method."""
    return Trainer(train_with_method, code_versions(method))


def train_with_method(task: Message, send: Send) -> None:
    """What a process does that collects trials under a method; see `collect_side_by_side`."""
    method = CollectionConfig.model_validate(task["config"]).method
    wanted, here = task["code"], code_versions(method) if method else {}
    if here != wanted:
        send({"error": f"The method's code is another on {platform.node()}: {here or 'none'} there, {wanted} here."})
        return
    train_blocks(task, send, partial(build_method, method) if method else None)
