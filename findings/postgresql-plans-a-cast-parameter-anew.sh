#!/usr/bin/env bash
# Claim: an update that adds a parameter to a column is planned anew at every execution, for ever, as soon as the
#   parameter is cast explicitly, as SQLAlchemy's psycopg dialect casts every integer.
# Version: SQLAlchemy 2.1.9 with psycopg 3.3.9, PostgreSQL 16 as in pgserver 0.1.4 (seen 2026-11-29).
#
# Expected: psycopg prepares a statement at its fifth execution, and PostgreSQL goes over to a generic plan five
# executions later; a cast of an integer to the type that the column has anyway makes no difference.
# Seen: with `newest + $1::INTEGER`, as SQLAlchemy sends it, all executions are planned (custom plans only); with the
# same parameter and no cast, only the first five. One such update took 65 µs of planning in each write transaction,
# three times as long as its execution.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
    sqlalchemy==2.1.9 greenlet==3.5.6 psycopg==3.3.9 psycopg-binary==3.3.9 pgserver==0.1.4 \
    fasteners==0.20 platformdirs==4.14.8 psutil==7.2.2 typing_extensions==4.16.0
export XDG_RUNTIME_DIR="$folder"
"$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import sys

import pgserver
from sqlalchemy import BigInteger, Column, MetaData, Table, bindparam, create_engine, text, update

server = pgserver.get_server(sys.argv[1], cleanup_mode="delete")
counter = Table("counter", MetaData(), Column("newest", BigInteger, nullable=False))
engine = create_engine(server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1))
statement = update(counter).values(newest=counter.c.newest + bindparam("count", 1)).returning(counter.c.newest)
print("SQLAlchemy sends:", str(statement.compile(engine)).replace("\n", " "))
plans = []
with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
    counter.metadata.create_all(connection)
    connection.execute(counter.insert().values(newest=0))
    for _ in range(100):
        connection.execute(statement)
        connection.exec_driver_sql("update counter set newest = newest + %s returning newest", (1,))
    for name, like in (("with the cast", "UPDATE counter%"), ("without a cast", "update counter%")):
        row = connection.execute(
            text("select custom_plans, generic_plans from pg_prepared_statements where statement like :like"),
            {"like": like},
        ).one()
        print(f"100 updates {name}: {row.custom_plans} custom plans, {row.generic_plans} generic ones")
        plans.append(tuple(row))
(_, generic_of_cast), (custom_of_bare, _) = plans
assert custom_of_bare <= 10, "the parameter without a cast is planned anew too"
sys.exit("it has changed: a generic plan is used for the cast too" if generic_of_cast else 0)
PYTHON
