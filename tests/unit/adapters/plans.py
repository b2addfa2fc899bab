"""How a database means to answer: the plans of the statements that were asked of it."""

import re

import sqlalchemy as sa

# Tables that grow with every study; the others stay small.
LONG = "studies|series|instances|revisions|reports|results|documents|deliveries|trail|audit"
_READS = re.compile(r"\s*(SELECT|WITH|UPDATE|DELETE)\b")


class Asked:
    """Every statement that reads or changes rows, while it is open."""

    def __init__(self, engine, tables=LONG):
        self._engine = engine
        self._tables = re.compile(rf"\b({tables})\b")
        self.statements = []

    def __enter__(self):
        sa.event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *exception):
        sa.event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, connection, cursor, statement, parameters, context, many):
        if _READS.match(statement) and self._tables.search(statement):
            self.statements.append((statement, parameters))


def sqlite_plan(connection, statement, parameters):
    """The steps, as EXPLAIN QUERY PLAN tells them."""
    return [row[3] for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)]


def complaints(plan, statement):
    """The steps that look at every row of a table that grows; an ordered walk that stops early is none."""
    found = []
    for step in plan:
        scan = re.match(rf"SCAN ({LONG}|older)\b(.*)", step)
        if scan and not ("USING" in scan[2] and "LIMIT" in statement):
            found.append(step)
    return found
