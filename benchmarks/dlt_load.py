"""Run by bench_push_dlt.py with the interpreter that has dlt: loads an NDJSON file into PostgreSQL with
write_disposition "merge", primary key (code, portal). Speaks JSON over its pipes: each line asked for is one load, each
line answered its seconds.

Nothing of chiso is imported. Always: lists instead of single items, and tables that are there before. `insert` and
`csv`: no child tables, and files small enough for two normalising processes; `csv`: COPY instead of INSERT.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

PAGE = 2000


def main() -> None:
    host, user, password, database, path, form = sys.argv[1:]
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
    if form != "plain":
        os.environ |= {
            "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "10000",
            "NORMALIZE__WORKERS": "2",
            "NORMALIZE__START_METHOD": "spawn",
        }
    # Here, because it reads the environment.
    import dlt  # type: ignore[import-not-found,unused-ignore]
    import psycopg2  # type: ignore[import-untyped,import-not-found,unused-ignore]

    def pages(count: int | None) -> Iterator[list[Any]]:
        with open(path, "rb") as lines:
            page: list[Any] = []
            for n, line in enumerate(lines):
                if n == count:
                    break
                page.append(json.loads(line))
                if len(page) == PAGE:
                    yield page
                    page = []
            if page:
                yield page

    with tempfile.TemporaryDirectory(prefix="dlt-") as folder:
        pipeline = dlt.pipeline(
            "push",
            pipelines_dir=folder,
            dataset_name=f"dlt_{form}",
            destination=dlt.destinations.postgres(
                {
                    "host": host.replace("/", "%2F"),
                    "username": user,
                    "password": password,
                    "database": database,
                }
            ),
        )

        def load(count: int | None = None) -> float:
            resource = dlt.resource(
                pages(count),
                name="dossier",
                write_disposition="merge",
                primary_key=("code", "portal"),
                max_table_nesting=None if form == "plain" else 0,
            )
            started = time.perf_counter()
            pipeline.run(resource, loader_file_format="csv" if form == "csv" else None)
            return time.perf_counter() - started

        load(1)
        connection = psycopg2.connect(host=host, user=user, password=password, dbname=database)
        connection.autocommit = True
        for _ in sys.stdin:
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE dlt_{form}.dossier")
            seconds = load()
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM dlt_{form}.dossier")
                ((rows,),) = cursor.fetchall()
            print(json.dumps({"seconds": seconds, "rows": rows}), flush=True)
        connection.close()


if __name__ == "__main__":
    main()
