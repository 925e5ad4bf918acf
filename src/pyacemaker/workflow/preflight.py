"""What is wrong with a run before anything runs: found in a second instead of in its second step."""

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import DataError, InsufficientDataError, OracleError, UserError
from pyacemaker.workflow.labelling import check_covered


def check_run(config: PyAceConfig) -> None:
    """Raise a `UserError` for settings and input files that cannot work together.

    Looked at: whether the pool has room for the labels, whether the oracle knows its settings, whether the
    batch system is there, whether the generators can use their input files, and whether the oracle covers
    what these hold.
    """
    config.check_budget()
    _check_pool(config)
    config.dft.check_settings()
    config.execution.check()
    config.potential_trainer().check()
    for place, structures in config.inputs():
        try:
            check_covered(structures, config.dft)
        except UserError as error:
            raise type(error)(f"{place}: {error}") from error
        except OracleError as error:
            raise DataError(f"{place}: {error}") from error


def _check_pool(config: PyAceConfig) -> None:
    wanted, n_pool = config.planned_labels(), config.sample.n_pool
    if wanted > n_pool:
        raise InsufficientDataError(
            f"label.n_train + label.n_test = {wanted} structures are to be labelled, but sample.n_pool = "
            f"{n_pool}: ask for fewer labels, or raise sample.n_pool"
        )
