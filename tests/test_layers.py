"""The folders import one another in one direction only, as CONTRIBUTING.md says."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import PurePath

import pytest

from settings import ROOT

MAY_IMPORT = {
    "utils": set(),
    "settings": {"utils"},
    "web": {"settings", "utils"},
    "features": {"utils"},
    "model": {"features", "utils"},
    "engines": {"features", "model", "utils"},
    "contract": {"engines", "utils"},
    "governance": {"engines", "utils"},
    "notices": {"features", "model", "utils"},
    "verify": set(),
    "service": {"contract", "engines", "governance", "settings", "utils", "web"},
    "server": {"service", "settings", "utils", "web"},
    "parties": {
        *("contract", "engines", "features", "governance", "model", "settings", "utils", "web"),
    },
    "federated": {
        *("contract", "engines", "features", "model", "parties", "settings", "utils", "web"),
    },
    "witness": {"contract", "engines", "governance", "parties", "settings", "utils"},
    "backend": {"engines", "features", "parties", "settings", "utils"},
    "ui": {
        *("backend", "contract", "engines", "features", "federated", "governance", "model"),
        *("notices", "parties", "settings", "utils", "web", "witness"),
    },
    "app": {"backend", "parties", "settings", "ui", "utils"},
    "training": {
        "contract",
        "engines",
        "features",
        "federated",
        "model",
        "parties",
        "settings",
        "utils",
        "witness",
    },
    "trials": {
        *("contract", "engines", "features", "federated", "governance", "model", "parties"),
        *("server", "service", "settings", "training", "utils", "verify", "witness"),
    },
    "scripts": {"federated", "parties", "service", "settings", "trials", "utils", "web"},
    "examples": {"engines", "features", "parties", "settings", "utils"},
}
"""The folders and modules that each may import, all of them above it in this table."""
ENTRY_POINTS = {
    "federated/__main__.py": {"ui"},
    "parties/__main__.py": {"ui"},
    "witness/__main__.py": {"ui"},
}
"""Further imports of an entry point, which puts two folders together."""
LIBRARIES = {
    "cedarpy": ("governance/",),
    "dp_accounting": ("federated/privacy/",),
    "concrete": ("engines/concrete/", "engines/concrete_ml/", "examples/"),
    "fairlearn": ("training/report/",),
    "fastapi": (
        *("federated/agents/api/", "parties/governance/api/", "service/", "server.py", "ui/"),
        "web/",
    ),
    "flwr": ("federated/flower/",),
    "gradio": ("ui/",),
    "jinja2": ("notices/",),
    "matplotlib": ("training/",),
    "plotly": ("ui/",),
    "psutil": ("trials/",),
    "pytest": ("trials/",),
    "ray": ("service/execution/ray/",),
    "reportlab": ("governance/", "notices/", "training/report/"),
    "sklearn": ("training/",),
    "skops": ("training/imported/",),
    "sqlalchemy": ("service/", "trials/"),
    "xgboost": ("training/",),
}
"""Libraries that only these folders and files import."""
INPUT_AND_OUTPUT = {
    *("asyncio", "contract", "httpx", "multiprocessing", "pathlib", "selectors", "socket"),
    *("sqlite3", "subprocess", "tempfile", "threading"),
}


SERVICE = (
    "http",
    "storage",
    "execution",
    "governance",
    "sessions",
    "trainings",
    "applications",
    "operations",
    "jobs",
    "api",
)
"""The folders of the server, lowest first; each imports only those before it."""


@cache
def imported() -> dict[str, set[str]]:
    """Return the names of the modules that each Python file imports, by its path, without tests."""
    paths = list(ROOT.glob("*.py"))
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith((".", "tests", "build")):
            paths += folder.rglob("*.py")
    return {(name := path.relative_to(ROOT).as_posix()): _imports(name) for path in paths}


def _imports(path: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path} has a relative import"
            # `from package import module` imports the module as well.
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def folder_of(path: str) -> str:
    """Return the top folder of a file, or the module's name beside the folders."""
    return PurePath(path).parts[0].removesuffix(".py")


def reached(module: str) -> set[str]:
    """Return a module and all that it imports, ours also indirectly, by name."""
    found, left = {module}, [module]
    while left:
        path = left.pop().replace(".", "/")
        new = imported().get(f"{path}.py", imported().get(f"{path}/__init__.py", set())) - found
        found |= new
        left += new
    return found


def test_every_folder_is_in_the_layout_table() -> None:
    assert {folder_of(path) for path in imported()} == set(MAY_IMPORT)
    above: set[str] = set()
    for folder, allowed in MAY_IMPORT.items():
        assert allowed <= above, f"{folder} may import only from above it in the table"
        above.add(folder)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_the_listed_folders(folder: str) -> None:
    ours = {*MAY_IMPORT, "tests"}
    wrong = {
        (path, name)
        for path, names in imported().items()
        if folder_of(path) == folder
        for name in names
        if (top := name.partition(".")[0]) in ours - {folder} - MAY_IMPORT[folder]
        and top not in ENTRY_POINTS.get(path, set())
    }
    assert wrong == set()


def test_server_folders_import_only_lower_ones() -> None:
    rank = {folder: number for number, folder in enumerate(SERVICE)}
    wrong = set()
    for path, names in imported().items():
        parts = PurePath(path).parts
        if parts[0] == "service" and len(parts) > 2:
            for name in names:
                top, _, rest = name.partition(".")
                folder = rest.partition(".")[0]
                if top == "service" and rank.get(folder, 0) > rank[parts[1]]:
                    wrong.add((path, name))
    assert wrong == set()


def test_library_is_imported_only_by_its_folders() -> None:
    wrong = {
        (path, name)
        for path, names in imported().items()
        for name in names
        if not path.startswith(LIBRARIES.get(name.partition(".")[0], ("",)))
    }
    assert wrong == set()


def test_contract_imports_only_data_libraries() -> None:
    """Both sides of HTTP import it, so that it brings neither side's libraries."""
    names = set().union(*(own for path, own in imported().items() if folder_of(path) == "contract"))
    tops = {name.partition(".")[0] for name in names}
    assert tops <= {
        "__future__",
        "base64",
        "contract",
        "datetime",
        "engines",
        "json",
        "pydantic",
        "typing",
        "utils",
    }
    assert {n for n in names if n.startswith("engines")} <= {
        "engines.interface",
        "engines.interface.DECIDE",
        "engines.interface.SIGN_OF",
    }


def test_joint_protocol_does_no_io() -> None:
    """The protocol is given messages and returns messages, so that tests can play it alone."""
    names = reached("parties.joint.protocol")
    assert "parties.joint.key_making" in names  # indirect imports are followed
    ours = {name for name in names if name.startswith("parties.")}
    tops = {n.partition(".")[0] for module in ours for n in imported().get(_path(module), set())}
    assert tops & INPUT_AND_OUTPUT == set()


def test_secure_sums_do_no_io() -> None:
    """Their state machines are given messages and return messages, as the joint protocol does."""
    own = {path for path in imported() if path.startswith("federated/aggregation/")}
    assert "federated/aggregation/lender_side.py" in own
    tops = {name.partition(".")[0] for path in own for name in imported()[path]}
    assert tops & INPUT_AND_OUTPUT == set()


def _path(module: str) -> str:
    return module.replace(".", "/") + ".py"


@pytest.mark.parametrize("engine", ["concrete", "concrete_ml", "levelled"])
def test_party_and_server_halves_do_not_import_each_other(engine: str) -> None:
    assert f"engines.{engine}.server" not in reached(f"engines.{engine}.party")
    assert f"engines.{engine}.party" not in reached(f"engines.{engine}.server")


def test_key_ceremony_is_not_imported_by_parties_or_server() -> None:
    """The ceremony holds the secrets of all parties; only measurements and tests import it."""
    users = {path for path, names in imported().items() if "engines.levelled.ceremony" in names}
    assert users == {
        "training/measure/joint_parties.py",
        "training/measure/levelled_steps.py",
        "training/measure/noise_table.py",
        "training/measure/scaling.py",
        "training/measure/sign_noise.py",
        "trials/signs.py",
        "trials/well_formed.py",
        "ui/stage/side_by_side.py",
    }
