"""Writes the config of a template, and checks that it is one."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from ase.data import atomic_numbers

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import ConfigError, FoundationModelError, UserError
from pyacemaker.files import sha256_file
from pyacemaker.potentials.mace_model import check_model_file
from pyacemaker.templates.reference import default_engine, reference
from pyacemaker.templates.system import System, written

_COVERED = frozenset({*range(1, 84), *range(89, 95)})
"""Atomic numbers of the 89 elements that the published models cover."""
_LABELS = {
    "molecule": (48, 24),
    "reaction": (54, 24),
    "crystal": (60, 24),
    "alloy": (90, 30),
    "cell": (60, 24),
}
"""DFT labels to train on and to test on."""


@dataclass(frozen=True)
class Template:
    """A config as text, and what its user has to give before it runs."""

    text: str
    to_give: tuple[str, ...]


def write_template(
    system: System, engine: str | None = None, foundation: Path | None = None, base_dir: Path = Path()
) -> Template:
    """The config for a system.

    engine: of the labels; default: PySCF for molecules, GPAW for crystals. foundation: a model file; default:
    a published model. base_dir: where the config file will be. Raises `ConfigError` for an engine that does
    not fit, and what the generators raise for systems that they cannot make candidates of.
    """
    name = engine or default_engine(system)
    labels = reference(name, system)
    sections = [
        _header(system, labels.to_give),
        "seed: 1",
        _section("foundation", "the MACE model to distil", _foundation(system, foundation, base_dir)),
        _section("dft", "the reference method: what every label is computed with", labels.lines),
        _sample(system),
        _label(system),
        _explore(system),
        _BASE,
        _EXECUTION,
    ]
    text = "\n\n".join(sections) + "\n"
    _check(text, base_dir)
    return Template(text, labels.to_give)


def _header(system: System, to_give: tuple[str, ...]) -> str:
    lines = [
        f"# {system.title[0].upper()}{system.title[1:]}: from one config file to an ACE potential.",
        "#",
        "#     pyacemaker validate config.yaml",
        "#     pyacemaker doctor config.yaml           # is all that it needs here?",
        "#     pyacemaker run config.yaml --dry-run    # what would be done",
        "#     pyacemaker run config.yaml",
        "#",
        "# Paths are relative to this file. What is left out has a default; pyacemaker schema names it all.",
    ]
    if to_give:
        lines += ["#", "# You have to give:", *(f"#   - {item}" for item in to_give)]
    return "\n".join(lines)


def _section(name: str, comment: str, lines: tuple[str, ...]) -> str:
    return _aligned([f"{name}:    # {comment}", *(f"  {line}" for line in lines)])


def _foundation(system: System, file: Path | None, base_dir: Path) -> tuple[str, ...]:
    if file is not None:
        check_model_file(file)
        return (f"model: {written(file, base_dir)}", f"sha256: {sha256_file(file)}")
    foreign = [symbol for symbol in system.elements if atomic_numbers[symbol] not in _COVERED]
    if foreign:
        raise FoundationModelError(
            f"no published foundation model covers {', '.join(foreign)}: give one by --foundation FILE"
        )
    own = "# or a model file of yours with its checksum: model: my.model, sha256: …"
    if system.is_periodic:
        return ("model: medium-mpa-0    # published, downloaded once; MIT licence", own)
    return (
        "model: mh-1    # published, downloaded once, for academic use; else medium-mpa-0, without head",
        "head: omol    # its level of theory for molecules",
        f"{own} (MACE-OFF23, …)",
    )


def _sample(system: System) -> str:
    lines = ["sample:    # step 1: candidates, and a diverse pool of them", "  generators:"]
    for first, *others in system.generators:
        lines += [f"    - {first}", *(f"      {line}" for line in others)]
    if system.kind in ("crystal", "alloy") and not any("kind: melt" in part for part in system.generators):
        lines.append("    # - kind: melt    # the liquid too: formula or structure as above")
    lines.append(f"  n_pool: {600 if system.kind == 'alloy' else 400}")
    return _aligned(lines)


def _label(system: System) -> str:
    train, test = _LABELS[system.kind]
    return _aligned(
        [
            "label:    # step 2: the only expensive calls",
            f"  n_train: {train}",
            f"  n_test: {test}    # frozen before any training, never trained on",
        ]
    )


def _explore(system: System) -> str:
    temperatures = "[300, 600, 1000]" if not system.is_periodic else "[300, 900, 1500]"
    return _aligned(
        [
            "explore:    # step 4: molecular dynamics with the fine-tuned teacher",
            "  n_structures: 1500",
            f"  temperatures: {temperatures}    # K",
            f"  dynamics: {{timestep: {system.timestep}}}    # fs",
        ]
    )


_BASE = "base:                            # step 6: the ACE potential\n  cutoff: 6.0                    # Å"
_EXECUTION = """\
execution:                       # on a cluster: backend: slurm, see docs/execution.md
  backend: local
  pools:
    cpu: {workers_per_node: 2}
    dft: {workers_per_node: 2, timeout_s: 14400}"""


def _aligned(lines: list[str]) -> str:
    """The lines with their comments in one column where they fit."""
    found = []
    for line in lines:
        text, mark, comment = line.partition("    # ")
        found.append(f"{text:<32} # {comment}" if mark and text.strip() else line)
    return "\n".join(found)


def _check(text: str, base_dir: Path) -> None:
    """The text is a config, and its generators can work with what it names."""
    config = PyAceConfig.model_validate(yaml.safe_load(text), context={"base_dir": base_dir.resolve()})
    config.check_budget()
    for generator in config.sample.generators:
        try:
            generator.inputs()
        except UserError as error:
            raise ConfigError(str(error)) from error
