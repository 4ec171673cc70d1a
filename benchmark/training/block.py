"""One block of trials, trained and scored in a process of its own; an interrupted one goes on from its snapshot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from ...baselines.optimizers.lookup import build_optimizer, rule_code
from ...registry.collection.block import one_thread, restore_snapshot, save_snapshot
from ...rl import PPOTraining, evaluate_returns
from ...utils.engines.work import Message, Send
from ...utils.errors import TiplBenchError, reason
from ...utils.files import replace_atomically
from .curves import Curves
from .protocol import TrainingProtocol

SNAPSHOT_SECONDS = 30.0
BESIDE = "curves."
"""Before the names of the curves' arrays in a snapshot."""
SECONDS, STATE_BYTES = "seconds", "state_bytes"
"""What a finished block's file holds beside its curves: CPU seconds of training and of evaluation, and the bytes that
the optimizer remembers of each trial."""


def train_block(task: Message, send: Send) -> None:
    """Train and score the blocks of a task one after another; what a worker process does.

    The task has `protocol`, `optimizer`, `outer`, `settings`, `code` (the sha256 of the source files of a method that
    an installed package brings), `iterations`, `folder`, and `blocks`: their numbers and seeds. Each block leaves the
    file that `curves_of` names.
    """
    code = rule_code((task["optimizer"], *task["outer"]))
    if (code and code.files) != task["code"]:
        which = f"{code.distribution} {code.version}" if code else "this package's"
        send({"error": f"The method's code is another on the node ({which}). Install the same on all nodes."})
        return
    protocol = TrainingProtocol.model_validate(task["protocol"])
    for number, seeds in task["blocks"]:
        try:
            optimizer = build_optimizer(task["optimizer"], task["outer"], task["settings"])
            training = PPOTraining(protocol.collection("test").training, seeds, optimizer, threads=1)
            block = _Block(training, protocol, task["iterations"], Path(task["folder"]), number)
            with one_thread():
                block.run(lambda done, word, returns, n=number: send(_message(n, done, word, returns)))
        except TiplBenchError as error:
            send({"error": str(error)})
            return
        except OSError as error:
            send({"error": f"{task['folder']}: {reason(error)}. Finished trials are kept; the same command goes on."})
            return
        except Exception as error:  # an optimizer of anyone's
            send({"error": f"Training failed ({type(error).__name__}: {reason(error)})."})
            return


def _message(block: int, done: int, word: str, returns: list[float] | None) -> Message:
    """How far a block is, and J of its trials if they were just evaluated."""
    return {"block": block, "done": done, "word": word, "returns": returns}


def curves_of(folder: Path, block: int) -> Path:
    """The file of a finished block's curves."""
    return folder / f"block-{block}.safetensors"


def snapshot_name(block: int) -> str:
    """The file that an interrupted block goes on from."""
    return f"block-{block}.snapshot"


class _Block:
    """The training of a block's trials, and what is known of their returns."""

    def __init__(
        self, training: PPOTraining, protocol: TrainingProtocol, iterations: int, folder: Path, number: int
    ) -> None:
        self.training, self.protocol, self.iterations = training, protocol, iterations
        self.snapshot, self.path = folder / snapshot_name(number), curves_of(folder, number)
        self.curves = Curves.empty(len(training.seeds), protocol.evaluated_until(iterations))
        self.initial = training.agent.parameters.clone()
        self.seconds = np.zeros(2)
        """CPU seconds of training and of evaluation."""

    def run(self, report: Any) -> None:
        """Train and score to the end, and write the curves."""
        if self.snapshot.exists():
            self._restore()
        else:
            self._evaluate()  # the initialisation under a normaliser that has seen nothing, as datasets store it
            self.training.start()
        saved = time.monotonic()
        while self.training.iteration < self.iterations:
            began = time.process_time()
            checkpoint = self.training.iterate()[-1]
            self._freeze()
            self.seconds[0] += time.process_time() - began
            self.curves.training_returns[:, self.training.iteration - 1] = checkpoint.episodic_return
            self._evaluate()
            known = self.curves.returns[:, self.curves.evaluated <= self.training.iteration]
            now = known[:, -1].tolist() if self.training.iteration in self.curves.evaluated else None
            report(self.training.iteration, f"mean J {known[:, -1].mean():.0f}", now)
            if self.training.resumable and time.monotonic() - saved >= SNAPSHOT_SECONDS:
                save_snapshot(self.training, self.snapshot, self._beside())
                saved = time.monotonic()
        state = self.training.agent.optimizer_state.values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in state) // len(self.training.seeds)
        with replace_atomically(self.path) as temporary:
            save_file({**self.curves.arrays, SECONDS: self.seconds, STATE_BYTES: np.array([size])}, temporary)
        self.snapshot.unlink(missing_ok=True)

    @torch.inference_mode()
    def _freeze(self) -> None:
        """Set trials whose weights are not finite back to their initialisation, and score them as that."""
        agent = self.training.agent
        self._diverge(~torch.isfinite(agent.parameters).all(1).numpy())
        frozen = torch.from_numpy(self.curves.diverged > 0)
        agent.parameters[frozen] = self.initial[frozen]

    def _diverge(self, bad: npt.NDArray[np.bool_]) -> None:
        """Note the trials that diverged in this iteration."""
        self.curves.diverged[bad & (self.curves.diverged == 0)] = self.training.iteration

    def _evaluate(self) -> None:
        """J of the policies of now, if this iteration's are evaluated."""
        at = np.flatnonzero(self.curves.evaluated == self.training.iteration)
        if not len(at):
            return
        began = time.process_time()
        policies, returns = self.training.policies(), self.curves.returns
        acting = (policies.weights, policies.mean, policies.variance)
        self._diverge(~np.all([np.isfinite(values).all(1) for values in acting], axis=0))
        known = np.flatnonzero(self.curves.diverged == 0)
        found = evaluate_returns(
            self.protocol.environment,
            self.training.layout,
            policies[known],
            self.protocol.evaluation_seeds,
            threads=1,
        )
        returns[known, at[0]] = found
        finite = np.isfinite(returns[:, at[0]])  # huge weights can make the physics undefined
        self._diverge(~finite)
        returns[~finite, at[0]] = returns[~finite, 0]
        self.seconds[1] += time.process_time() - began

    def _beside(self) -> dict[str, Any]:
        arrays = {f"{BESIDE}{name}": array for name, array in self.curves.arrays.items()}
        return {**arrays, f"{BESIDE}{SECONDS}": self.seconds, f"{BESIDE}initial": self.initial.numpy()}

    def _restore(self) -> None:
        arrays = restore_snapshot(self.training, self.snapshot)
        for name, array in self._beside().items():
            array[...] = arrays[name]
