"""docs/conformance.md against lines.toml: no line without a test, no test that is not there.

Held are all tables of clause 1: roles, SOP classes, transfer syntaxes, statuses, timeouts, every service at
the doors and towards others. A new row there needs an entry in lines.toml that names the test which would
fail if the line were not true.
"""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = tomllib.loads((Path(__file__).parent / "lines.toml").read_text(encoding="utf-8"))
STATEMENT = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")


def rows(text):
    """(section, line) of every row of a table below a heading that begins with 1."""
    section, above, table = "", "", []
    for line in [*text.splitlines(), ""]:
        heading = re.match(r"#+ ([0-9.]+) ", line)
        if heading:
            section = heading[1]
        if line.startswith("|"):
            table.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
            continue
        several = any(not row[0] for row in table[2:])
        for row in table[2:]:
            above = row[0] or above
            if section.split(".")[0] == "1":
                yield section, f"{above} / {row[1]}" if several else row[0]
        table = []


@functools.cache
def functions_of(path):
    if not (ROOT / path).exists():
        return frozenset()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_line_of_the_statement_has_a_test():
    told = set(rows(STATEMENT))
    held = {(section, line) for section, lines in LINES.items() for line in lines}
    assert len(told) > 90
    assert told - held == set(), "lines of docs/conformance.md without a test in lines.toml"
    assert held - told == set(), "lines.toml speaks of lines that docs/conformance.md does not have"


@pytest.mark.parametrize("section", sorted(LINES))
def test_every_test_that_is_named_is_there(section):
    for line, tests in LINES[section].items():
        assert tests, line
        for name in tests:
            path, _, function = name.partition("::")
            assert function in functions_of(path), f"{section} {line}: {name} is not there"


def test_a_row_that_nobody_holds_is_found():
    first = "### 1.9 New\n| item | value |\n|---|---|\n| `new` | x |\n\n"
    second = "| a | b |\n|-|-|\n| c | d |\n| | e |\n"
    assert list(rows(first + second)) == [("1.9", "new"), ("1.9", "c / d"), ("1.9", "c / e")]
