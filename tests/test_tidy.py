"""The rules of the house that no linter knows. `python tests/test_tidy.py` prints public names."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "qflow"
GOLDEN = ROOT / "tests" / "public_names.txt"

# From the top down: a room imports those in lines below its own, never up or sideways.
LAYERS = (
    ("cli", "testing"),
    ("node",),
    ("api",),
    ("ingress",),
    ("engine",),
    ("dispatch",),
    ("network", "steps"),
    ("ecosystem",),
    ("nodes",),
    ("state",),
    ("audit",),
    ("storage",),
    ("trust",),
    ("events",),
    ("expressions", "model"),
    ("clock", "config"),
    ("diagnostics", "errors"),  # what everything else says and raises, `clock` and `config` too
    ("_core",),
)
DEPTH = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 40
LINE_COLUMNS_MAX = 100
# A function that reads worse in parts, with the reason; empty is the aim.
LONG_FUNCTIONS: frozenset[str] = frozenset()

# Joined here, so that this file does not hold what it forbids.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "maven" + ".org"]
FORBIDDEN = {
    "unfinished work is an open issue, not a comment": r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
    "a path of one machine": r"(?<![\w.~}>*-])/(?:wo" + r"rk/(?:main|shared)|ro" + r"ot/)",
    "a registry's host": "|".join(re.escape(host) for host in HOSTS),
    "an issue's number tells a reader nothing": r"\b[Ii]ss" + r"ue #?\d+",
}
SLEEPS = {"anyio.sleep", "trio.sleep", "asyncio.sleep", "time.sleep"}
TEXT = {".py", ".pyi", ".rs", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".sh", ".cfg"}
OUR_FOLDERS = ("python", "rust", "tests", "benches", "examples", "docs", "requirements", ".ci")


def files(*suffixes: str, under: tuple[str, ...] = ("python", "rust")) -> Iterator[Path]:
    for folder in under:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
                yield path


def written_by_us() -> Iterator[Path]:
    """Every text of the project; vectors are other people's."""
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in TEXT)
    yield ROOT / "Makefile"
    for path in files(*TEXT, "", under=OUR_FOLDERS):
        if "vectors" not in path.parts:
            yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix(".pyi")


def rooms() -> set[str]:
    """The rooms that are there: packages and modules directly under `qflow`."""
    inside = {path for path in PACKAGE.iterdir() if path.suffix in {".py", ".pyi"} or path.is_dir()}
    inside = {path for path in inside if path.is_file() or any(path.glob("*.py"))}
    return {room_of(path) for path in inside} - {"__init__", "__main__"}


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the room of each import of our own; "" is the package itself."""
    package = ["qflow", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(parsed(path)):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        for name in names:
            if name[0] == "qflow":
                assert isinstance(node, ast.Import | ast.ImportFrom)
                yield node.lineno, name[1] if len(name) > 1 and name[1] in DEPTH else ""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function and its lines, without its docstring: promises may be long."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        first = node.body[0]
        if ast.get_docstring(node, clean=False) is not None:
            lines -= (first.end_lineno or first.lineno) - first.lineno + 1
        yield f"{named(path)}:{node.name}", lines


def public_names() -> list[str]:
    """`package: name name ...` for each package that has a public face."""
    lines = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        package = ".".join(("qflow", *path.relative_to(PACKAGE).parent.parts))
        if not any(part.startswith("_") for part in package.split(".")):
            lines.append(" ".join((f"{package}:", *sorted(declared_names(path)))))
    return lines


def declared_names(path: Path) -> list[str]:
    for node in parsed(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def bound_names(path: Path) -> set[str]:
    """Our own names that an `__init__` holds; what it takes from other libraries is no promise."""
    names: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and (
            node.level or f"{node.module}.".startswith("qflow.")
        ):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


def claims() -> Iterator[tuple[str, str]]:
    """Where a test claims to prove a line of must-hold.md, and which."""
    for path in files(".py", under=("tests",)):
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            given = [word.value for word in node.keywords if word.arg == "claims"]
            if ast.unparse(node.func) == "pytest.mark.holds":
                given = node.args
            for literal in (one for value in given for one in ast.walk(value)):
                if isinstance(literal, ast.Constant):
                    yield f"{named(path)}:{node.lineno}", str(literal.value)
    for path in files(".rs", under=("rust",)):
        for number in re.findall(r"fn holds_([a-z]\d{1,2})_", path.read_text(encoding="utf-8")):
            yield named(path), number.upper()


def test_every_room_has_its_place_in_the_order() -> None:
    assert rooms() <= DEPTH.keys(), "a room that architecture.md does not place"


def test_imports_point_down() -> None:
    wrong = []
    for path in files(".py", under=("python",)):
        room = room_of(path)
        if room not in DEPTH:  # the package itself stands above all
            continue
        for line, other in imported_rooms(path):
            if other != room and DEPTH.get(other, -1) <= DEPTH[room]:
                wrong.append(f"{named(path)}:{line}: {room} imports {other or 'qflow'}")
    assert not wrong, "\n".join(wrong)


def test_errors_are_the_drawn_tree() -> None:
    module = parsed(PACKAGE / "errors.py")
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    drawn = re.findall(r"\b[A-Z]\w+Error\b", ast.get_docstring(module) or "")
    assert sorted(drawn) == sorted(node.name for node in classes)
    assert all(ast.get_docstring(node) for node in classes), "each says what it left behind"


def test_crates_point_down() -> None:
    order = [
        *("qflow-python", "qflow-export", "qflow-index"),
        *("qflow-log", "qflow-core", "qflow-sha"),
    ]
    for crate in order:
        manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text(encoding="utf-8"))
        ours = {name for name in manifest["dependencies"] if name.startswith("qflow-")}
        assert ours <= set(order[order.index(crate) + 1 :]), crate


def test_the_core_is_pure() -> None:
    crate = ROOT / "rust" / "qflow-core"
    assert "#![forbid(unsafe_code)]" in (crate / "src" / "lib.rs").read_text(encoding="utf-8")
    manifest = tomllib.loads((crate / "Cargo.toml").read_text(encoding="utf-8"))
    impure = {"getrandom", "libc", "pyo3", "rand", "rustix", "tokio"}
    assert not impure & manifest["dependencies"].keys()


def test_files_are_small() -> None:
    lengths = {
        named(path): len(path.read_text("utf-8").splitlines()) for path in files(".py", ".rs")
    }
    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_functions_are_small() -> None:
    long = [
        f"{name}: {lines} lines"
        for path in files(".py", under=("python",))
        for name, lines in functions(path)
        if lines > FUNCTION_LINES_MAX and name not in LONG_FUNCTIONS
    ]
    assert not long, "\n".join(long)


def test_lines_are_short() -> None:
    wide = [
        f"{named(path)}:{number}"
        for path in files(".py", ".pyi", ".rs", under=("python", "rust", "tests", "benches"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LINE_COLUMNS_MAX
    ]
    assert not wide, "\n".join(wide)


def test_public_names_are_those_that_were_agreed() -> None:
    golden = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert public_names() == golden, "a promise changed: python tests/test_tidy.py > " + named(
        GOLDEN
    )


def test_packages_export_what_they_declare() -> None:
    wrong = {}
    for path in sorted(PACKAGE.rglob("__init__.py")):
        inside = any(part.startswith("_") for part in path.relative_to(PACKAGE).parent.parts)
        if not inside and (hidden := bound_names(path) - set(declared_names(path))):
            wrong[named(path)] = sorted(hidden)
    assert wrong == {}, "imported into a public face and not in its __all__"


def test_nothing_forbidden_is_written() -> None:
    found = []
    for path in written_by_us():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for why, pattern in FORBIDDEN.items():
                if re.search(pattern, line):
                    found.append(f"{named(path)}:{number}: {why}: {line.strip():.80}")
    assert not found, "\n".join(found)


def test_tests_do_not_sleep() -> None:
    sleeping = [
        f"{named(path)}:{node.lineno}"
        for path in files(".py", under=("tests",))
        if "end_to_end" not in path.parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SLEEPS
    ]
    assert not sleeping, "\n".join(sleeping) + "\nwait for the event itself, or move a ManualClock"


def test_claims_are_lines_of_must_hold() -> None:
    must_hold = ROOT.parent / "shared" / "design" / "must-hold.md"
    if not must_hold.is_file() and not os.environ.get("CI"):
        pytest.skip("the list of claims is not beside this checkout")
    numbers = set(re.findall(r"\b[MWSHCNVLE]\d{1,2}\b", must_hold.read_text(encoding="utf-8")))
    unknown = [f"{where}: {claim}" for where, claim in claims() if claim not in numbers]
    assert not unknown, "\n".join(unknown)


def links(page: Path) -> Iterator[Path]:
    """What a page links to inside the project."""
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        yield (page.parent / target).resolve()


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *files(".md", under=("docs", "examples"))]
    broken = [f"{named(p)}: {link}" for p in pages for link in links(p) if not link.exists()]
    assert not broken, "\n".join(broken)


def test_every_page_is_listed() -> None:
    lists = {ROOT / "docs" / "index.md", ROOT / "docs" / "decisions" / "README.md"}
    listed = {link for page in lists for link in links(page)}
    unlisted = [named(p) for p in files(".md", under=("docs",)) if p not in listed | lists]
    assert unlisted == [], "docs/index.md and docs/decisions/README.md list the pages"


def test_architecture_names_the_rooms_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named_rooms = set(re.findall(r"^\| `(?:qflow\.)?(\w+)` \|", text, flags=re.MULTILINE))
    named_crates = set(re.findall(r"^\| `(qflow-\w+)` \|", text, flags=re.MULTILINE))
    assert named_rooms == rooms()
    assert named_crates == {path.parent.name for path in ROOT.glob("rust/*/Cargo.toml")}


def test_the_order_in_architecture_is_the_one_that_is_checked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    order = re.findall(r"^\| `(?:qflow\.)?(\w+)` \|", text, flags=re.MULTILINE)
    assert all(DEPTH[above] <= DEPTH[below] for above, below in pairwise(order))


if __name__ == "__main__":
    print("\n".join(public_names()))  # noqa: T201  (this is the way to write the golden list)
