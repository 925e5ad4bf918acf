"""The foundation model that a run starts from: a file, or the name of a published model."""

import difflib
import logging
import urllib.error
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from pyacemaker.base import InputFile, Spec
from pyacemaker.errors import FoundationModelError, UnsupportedElementError
from pyacemaker.files import sha256_file
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_elements import read_elements
from pyacemaker.potentials.mace_model import Precision, check_model_file, quiet_mace

logger = logging.getLogger(__name__)

PUBLISHED_MODELS = (
    "small",
    "medium",
    "large",
    "small-0b",
    "medium-0b",
    "small-0b2",
    "medium-0b2",
    "large-0b2",
    "medium-0b3",
    "medium-mpa-0",
    "small-omat-0",
    "medium-omat-0",
    "mace-matpes-pbe-0",
    "mace-matpes-r2scan-0",
    "mh-0",
    "mh-1",
)
"""The names that `mace.calculators.mace_mp` knows."""

_ALIASES = {"mace-mp-0": "medium", "mace-mpa-0": "medium-mpa-0"}
_FILE_SUFFIXES = (".model", ".pt", ".pth")


def _relative_to_config(model: str, info: ValidationInfo) -> str:
    base_dir = (info.context or {}).get("base_dir")
    path = Path(base_dir or "", Path(model).expanduser())
    looks_like_a_file = "/" in model or model.endswith(_FILE_SUFFIXES)
    return str(path) if looks_like_a_file or path.exists() else model


def _model_identity(model: str, info: SerializationInfo) -> str:
    if (info.context or {}).get("fingerprint") and Path(model).is_file():
        return f"sha256:{sha256_file(Path(model))}"
    return model


class FoundationSettings(Spec):
    """Which foundation model, and how it is evaluated.

    A file counts by its content in the fingerprint, a published model by its name.
    """

    model: Annotated[
        str,
        Field(min_length=1),
        AfterValidator(_relative_to_config),
        PlainSerializer(_model_identity, return_type=str),
    ]
    """A model file (relative to the config file), or a published name: `mace-mp-0`, `medium-mpa-0`, …"""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """SHA-256 of the file you trust: a model file is a pickle, and loading one executes it."""
    head: str | None = None
    """Which head of a multi-head model; None = the one called Default, else the last."""
    training_data: InputFile | None = None
    """Structures that the model was trained on, which its uncertainty is measured against; default: the
    candidates of the run."""
    device: str = "cpu"
    """The torch device: cpu, cuda, cuda:1, …"""
    dtype: Precision = "float64"
    """The precision of all arithmetic with this model."""
    max_atoms_per_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Atoms per batch. `auto`: what is fastest on a CPU core, or what fits the memory of the GPU."""

    def resolve(self, base_dir: Path = Path()) -> Path:
        """The model file, downloaded where it is a published model that is not in MACE's cache yet.

        A relative path counts from `base_dir`. Nothing in the file is executed. Raises `FoundationModelError`
        for an unknown name, a missing file, no connection, a checksum that differs, and a file that is no
        MACE model.
        """
        path = Path(base_dir, Path(self.model).expanduser())
        if path.exists():
            return self._checked(path)
        name = self.published_name()
        if name is not None:
            return self._checked(_download(name))
        raise FoundationModelError(_not_found(self.model, path))

    def check(self, elements: Iterable[str] = ()) -> None:
        """What `resolve` would refuse, without a download, and elements that the model does not cover.

        Takes milliseconds and needs neither torch nor MACE. What a published model covers is known once it is
        here. Raises `FoundationModelError` and `UnsupportedElementError`.
        """
        path = Path(self.model).expanduser()
        if not path.exists():
            if self.published_name() is None:
                raise FoundationModelError(_not_found(self.model, path))
            return
        covered = read_elements(self._checked(path))
        foreign = sorted({*elements} - {*covered})
        if foreign:
            raise UnsupportedElementError(
                f"the foundation model {path.name} does not cover {', '.join(foreign)}; it covers "
                f"{'-'.join(sorted(covered))}: take another model, or leave these elements out"
            )

    def published_name(self) -> str | None:
        """MACE's name of the published model that is meant, None where it is none."""
        name = _ALIASES.get(self.model.lower(), self.model.lower())
        return name if name in PUBLISHED_MODELS else None

    def load(self, base_dir: Path = Path()) -> MacePotential:
        """`resolve`, then the model as a potential."""
        return self._potential(self.resolve(base_dir), self.head)

    def tuned(self, path: Path) -> MacePotential:
        """A model fine-tuned from this one (it has one head), on the same device, in the same precision."""
        return self._potential(path, None)

    def _potential(self, path: Path, head: str | None) -> MacePotential:
        return MacePotential(
            path,
            device=self.device,
            dtype=self.dtype,
            max_atoms_per_batch=self.max_atoms_per_batch,
            head=head,
        )

    def _checked(self, path: Path) -> Path:
        check_model_file(path)
        found = sha256_file(path)
        if self.sha256 is None:
            logger.info("foundation model %s, SHA-256 %s (not pinned: set sha256 to it)", path, found)
        elif found != self.sha256.lower():
            raise FoundationModelError(
                f"{path} has SHA-256 {found}, expected {self.sha256.lower()}: the file changed or is another "
                "one; get the right file or correct sha256"
            )
        return path


def _download(name: str) -> Path:
    """The cached file of a published model, fetched by MACE's own code when it is not there."""
    logger.info("looking for the foundation model %s in MACE's cache, downloading it otherwise", name)
    try:
        with quiet_mace():
            from mace.calculators.foundations_models import download_mace_mp_checkpoint

            return Path(download_mace_mp_checkpoint(name))
    except (OSError, RuntimeError) as error:  # urllib.error.URLError is an OSError
        raise FoundationModelError(
            f"the foundation model {name!r} is not in MACE's cache and could not be downloaded: "
            f"{_reason(error)}; {_how_to_get(name)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"this machine is offline ({error.reason})"
    return str(error)


def _how_to_get(name: str) -> str:
    from mace.calculators.foundations_models import mace_mp_urls

    return f"download {mace_mp_urls[name]} on another machine and set model to the path of that file"


def _not_found(model: str, path: Path) -> str:
    if "/" in model or model.endswith(_FILE_SUFFIXES):
        return (
            f"the foundation model file {path} does not exist; correct the path, relative to the config file"
        )
    close = difflib.get_close_matches(model.lower(), [*PUBLISHED_MODELS, *_ALIASES], n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"{model!r} is neither a file in {path.parent} nor a published model; {hint}known names: mace-mp-0, "
        f"{', '.join(PUBLISHED_MODELS)}"
    )
