"""Every error the package raises on purpose.

::

    PyacemakerError                    exit code 1: the run failed
    ├── UserError                      exit code 2: the input has to change
    │   ├── ConfigError                the config file: unknown key, wrong type, value out of range
    │   ├── DataError                  a structure file: unreadable, empty, labels missing
    │   ├── PotentialFormatError       a potential file: damaged, or of another kind
    │   ├── FoundationModelError       the foundation model: offline, no such name, no such file, not MACE
    │   ├── UnsupportedElementError    an element that the model, oracle or basis does not cover
    │   ├── EngineMissingError         a program or package that the settings name is not installed
    │   ├── LevelOfTheoryError         teacher and labels disagree beyond energy references
    │   └── InsufficientDataError      fewer structures than the step can work with
    ├── OracleError                    one structure could not be labelled (filed, never fatal by itself)
    │   ├── ConvergenceError           the electronic structure did not converge
    │   ├── UnphysicalLabelError       a label or a geometry failed a sanity check
    │   ├── OracleTimeoutError         the calculation ran past its time limit
    │   ├── OracleCrashError           the calculation's process died
    │   └── EngineError                the engine ended without an answer, not for the physics
    ├── TooManyFailuresError           more labels failed than `max_failed_fraction` allows
    ├── ExecutionError                 the batch system or the pool of workers broke down
    ├── TrainingError                  a trainer ended without a usable model
    │   └── TrainingDivergenceError    the loss or the coefficients ran away; nothing was saved
    └── VerdictError                   the final potential does not beat the base, or a gate holds it back

A message says what was found, what was expected and what to change, in one sentence.
"""


class PyacemakerError(Exception):
    """Root of the tree; catching it catches everything the package raises on purpose."""

    exit_code = 1


def described(error: BaseException) -> str:
    """Class and message of an exception, for a sentence; the class alone where it came without a message."""
    name, text = type(error).__name__, str(error)
    return f"{name}: {text}" if text else name


class UserError(PyacemakerError):
    """The input has to change: the command line ends with exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """The config file has an unknown key, a wrong type or a value out of range."""


class DataError(UserError):
    """A structure file is missing, unreadable, empty, or lacks labels."""


class PotentialFormatError(UserError):
    """A potential file is damaged or of another kind."""


class FoundationModelError(UserError):
    """The foundation model cannot be had: offline, no such name, no such file, or not a MACE model."""


class UnsupportedElementError(UserError):
    """A structure holds an element that the model, oracle or basis does not cover."""


class EngineMissingError(UserError):
    """A program or package that the settings name is not installed."""


class LevelOfTheoryError(UserError):
    """The teacher and the labels disagree by more than energy references explain: units, charge."""


class InsufficientDataError(UserError):
    """A step was given fewer structures than it can work with."""


class OracleError(PyacemakerError):
    """One structure could not be labelled; the failure is filed and the run goes on.

    permanent: whether asking again would give the same answer; otherwise the next run asks again.
    """

    permanent = True


class ConvergenceError(OracleError):
    """The electronic structure did not converge."""


class UnphysicalLabelError(OracleError):
    """A geometry (before) or a label (after) failed a sanity check."""


class OracleTimeoutError(OracleError):
    """The calculation ran past its time limit."""

    permanent = False


class OracleCrashError(OracleError):
    """The calculation's process died without an answer."""

    permanent = False


class EngineError(OracleError):
    """The engine ended without an answer, and not for the physics: a library, a file, its input."""

    permanent = False


class TooManyFailuresError(PyacemakerError):
    """More labels failed than `max_failed_fraction` allows."""


class ExecutionError(PyacemakerError):
    """The batch system or the pool of workers broke down; what was computed is kept."""


class TrainingError(PyacemakerError):
    """A trainer ended without a usable model."""


class TrainingDivergenceError(TrainingError):
    """The loss or the coefficients ran away; nothing was saved."""


class VerdictError(PyacemakerError):
    """The final potential does not beat the base on the held-out DFT test set, or a gate holds it back."""
