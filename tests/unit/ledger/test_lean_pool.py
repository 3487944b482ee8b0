"""A ledger URL means the same to every process, with SQLAlchemy and without."""

import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import make_url

from dispatcher.ledger.lean import connect_arguments


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://p:s%40x@h:5433/db",
        "postgresql+asyncpg://p@/db?host=/run/x%20y&port=5434",
        "postgresql+asyncpg://u:a/b?c#d@h/db",
        "postgresql://u:p@[::1]:5/db?ssl=require",
        "postgresql+asyncpg://u@/db?host=a:1&host=b:2",
        "postgresql+asyncpg://u@/db?host=a:1",
        "postgresql+asyncpg://h",
        "postgresql+asyncpg://u:p@h/d%20b?prepared_statement_cache_size=5&ssl=prefer",
        "postgresql+asyncpg:///db",
    ],
)
def test_the_lean_pool_connects_where_sqlalchemy_would(url: str) -> None:
    sqlalchemy: Any = dialect
    theirs = sqlalchemy().create_connect_args(make_url(url))[1]
    theirs.pop("prepared_statement_cache_size", None)
    assert connect_arguments(url) == theirs


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite:///x", "h/db", ""])
def test_only_postgresql_is_a_ledger(url: str) -> None:
    with pytest.raises(ValueError, match="the ledger is PostgreSQL"):
        connect_arguments(url)


def test_asking_plain_questions_loads_no_sqlalchemy() -> None:
    program = (
        "import dispatcher.ledger.lean, dispatcher.ledger.deliveries, dispatcher.ledger.directory, sys; "
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
