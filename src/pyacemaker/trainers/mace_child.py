"""The child process of a fine-tuning: `mace_run_train`, ended once the validation loss no longer falls.

    python -m pyacemaker.trainers.mace_child PATIENCE ARGUMENTS OF mace_run_train

In mace-torch 0.3.16 `--patience` only writes a line to the log unless the training is distributed.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

HEAD = "Default"
"""The head that learns the labels, by MACE's name; its loss decides."""
REPLAY_HEAD = "pt_head"
"""The head that keeps what the foundation model knew, by MACE's name."""


class _NoGain(Exception):
    """Ends MACE's loop over the epochs from inside its log."""


class WatchedLog:
    """MACE's log of metrics, which ends the training after `patience` epochs without a lower loss."""

    def __init__(self, log: Any, patience: int) -> None:
        self._log, self._patience = log, patience
        self._lowest, self._waited = float("inf"), 0

    def log(self, metrics: dict[str, Any]) -> None:
        """Write one record; raise where it is the last of a vain wait."""
        self._log.log(metrics)
        if metrics.get("mode") != "eval" or metrics.get("epoch") is None or metrics.get("head") != HEAD:
            return
        loss = float(metrics["loss"])
        if loss < self._lowest:
            self._lowest, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            raise _NoGain


def stopping(train: Callable[..., None], patience: int) -> Callable[..., None]:
    """MACE's function `train` with a watched log; what follows it, saving the best model, is as ever."""

    def watched(**arguments: Any) -> None:
        arguments["logger"] = WatchedLog(arguments["logger"], patience)
        with contextlib.suppress(_NoGain):
            train(**arguments)

    return watched


def main() -> None:
    """Run MACE's own command with the arguments after the first."""
    patience = int(sys.argv.pop(1))
    from mace import tools
    from mace.cli import run_train

    tools.train = stopping(tools.train, patience)
    run_train.main()


if __name__ == "__main__":
    main()
