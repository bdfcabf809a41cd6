"""What an installation of the service gives, and what its lock files may say."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

# Python finds site-packages before the checkout, so a dependency with one of these names would hide ours. Ray workers
# unpickle the classes that tests define, from `tests`.
TOP_LEVEL_NAMES = {*PACKAGES, "analytics", "benchmarks", "examples", "tests"}

LOCK_LINE = re.compile(
    r"[a-z0-9-]+==[0-9A-Za-z.!+]+( ; [A-Za-z0-9_.'<>=!() ]+)? \\"  # A name, a version, and where it applies.
    r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
)
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-uv.lock"]
SET_UP_FILES = [*LOCKS, ".ci/run", ".pre-commit-config.yaml", "Makefile", "pyproject.toml"]


def pins(lock: str) -> dict[str, str]:
    """The version of each name in a lock file; a name pinned twice, for two Pythons, counts as both."""
    lines = (ROOT / lock).read_text().splitlines()
    return {line.removesuffix(" \\"): line.split("==")[0] for line in lines if not line.startswith(" ")}


def test_no_dependency_provides_one_of_our_top_level_names() -> None:
    providers = packages_distributions()
    others = {name: set(providers.get(name, ())) - {"portfolio-state"} for name in TOP_LEVEL_NAMES}
    assert {name: found for name, found in others.items() if found} == {}


def test_another_process_in_another_directory_finds_our_packages_in_this_checkout(tmp_path: Path) -> None:
    program = "import sys, importlib.util as u; print(*(u.find_spec(name).origin for name in sys.argv[1:]), sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-c", program, *PACKAGES], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [str(ROOT / name / "__init__.py") for name in PACKAGES]


def test_the_command_starts_the_command_line() -> None:
    commands = distribution("portfolio-state").entry_points.select(group="console_scripts")
    assert {command.name: command.value for command in commands} == {"portfolio-state": "cluster.cli:main"}


def test_the_core_is_forbidden_every_runtime_dependency() -> None:
    contracts = {contract["id"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}
    dependencies = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    imported = {name for name, providers in packages_distributions().items() if dependencies & set(providers)}
    imported = {name for name in imported if not name.startswith("_")}
    assert "ray" in imported
    assert imported <= set(contracts["pure-core"]["forbidden_modules"])


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_names_versions_and_hashes_alone(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert any(line.startswith("    --hash=") for line in lines)
    assert [line for line in lines if not LOCK_LINE.fullmatch(line)] == []


def test_the_developers_lock_holds_the_runtime_lock() -> None:
    developers = pins("requirements-dev.lock")
    # What the service needs on some systems only, a developers' tool may need on more, or on all.
    pinned = {pin.partition(" ;")[0] for pin in developers}
    assert [pin for pin in pins("requirements.lock") if pin.partition(" ;")[0] not in pinned] == []


@pytest.mark.parametrize("name", SET_UP_FILES)
def test_a_set_up_file_carries_no_address(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()
