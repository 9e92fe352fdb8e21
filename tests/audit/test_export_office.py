"""A spreadsheet opens an export: LibreOffice, with no window. `make test-python` installs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.audit.chains import chain_id
from tests.audit.exports import Fact, Writer, write
from tests.audit.test_export import HOSTILE, read_csv

NAMES = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
}
TIMEOUT_S = 240
COLUMNS = ("type", "flow", "step", "actor", "node", "subnet", "meta")
FORMULAS = ("=1+1", "=2*3", '=HYPERLINK("http://a.example","b")', "=SUM(A1)")


def convert(path: Path, folder: Path) -> ET.Element:
    """Open a file in LibreOffice and save it as a flat OpenDocument sheet: its root."""
    command = shutil.which("soffice")
    if command is None:
        pytest.fail("soffice is missing: make test-python installs libreoffice-calc")
    profile = (folder / "profile").as_uri()
    subprocess.run(
        [command, f"-env:UserInstallation={profile}", "--headless", "--convert-to", "fods",
         "--outdir", str(folder), str(path)],
        check=True, capture_output=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    return ET.parse(folder / f"{path.stem}.fods").getroot()


def cells(root: ET.Element) -> list[list[ET.Element]]:
    """The cells of each row, one for each column."""
    rows = []
    for row in root.iterfind(".//table:table-row", NAMES):
        made: list[ET.Element] = []
        for cell in row:
            count = int(cell.get(f"{{{NAMES['table']}}}number-columns-repeated", "1"))
            made += [cell] * min(count, 20)
        rows.append(made)
    return [row for row in rows if any(len(cell) for cell in row)]


def is_formula(cell: ET.Element) -> bool:
    return cell.get(f"{{{NAMES['table']}}}formula") is not None


def kind(cell: ET.Element) -> str | None:
    return cell.get(f"{{{NAMES['office']}}}value-type")


@pytest.mark.holds("H14")
def test_libreoffice_keeps_formula_cells_as_text(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    cruel = [name for name in (*FORMULAS, *HOSTILE) if name]
    for number, name in enumerate(cruel):
        fact: Fact = (name, name, None, None, {"note": name})
        chain = chain_id(number)
        writer.add([fact], chain=chain, flow=name, actor=name, node=name, subnet=name)
    folder = writer.close()
    write(folder, tmp_path / "exact.csv")
    write(folder, tmp_path / "safe.csv", spreadsheet=True)

    # Without the mode it is as dangerous as they say: this finds out whether the test sees it.
    exact = cells(convert(tmp_path / "exact.csv", tmp_path))
    assert sum(is_formula(cell) for row in exact for cell in row) >= len(FORMULAS)

    rows = cells(convert(tmp_path / "safe.csv", tmp_path))
    assert len(rows) == len(cruel) + 1
    due = read_csv(tmp_path / "safe.csv")
    places = [list(due[0]).index(column) for column in COLUMNS]
    for row, name in zip(rows[1:], cruel, strict=True):
        assert not any(is_formula(cell) for cell in row), name
        for place in places:
            plain = name[0].isascii() and name[0].isalnum()
            assert kind(row[place]) == "string" or plain, (name, place)
