"""Run by an interpreter that has reladiff (bench_compare.py): joindiff of two tables, once per line on standard input.

Arguments: host, user, password, database, the two tables, their columns after the key `id`.
"""

import json
import sys
import time

from reladiff import Algorithm, TableSegment, connect, diff_tables  # type: ignore[import-not-found,unused-ignore]

host, user, password, database, left, right, *columns = sys.argv[1:]
place = {"driver": "postgresql", "host": host, "user": user, "password": password, "database": database}
for _ in sys.stdin:
    server = connect(place)
    started = time.perf_counter()
    segments = [
        TableSegment(server, (name,), ("id",), extra_columns=tuple(columns), case_sensitive=True)
        for name in (left, right)
    ]
    found = {row[0] for _, row in diff_tables(*segments, algorithm=Algorithm.JOINDIFF)}
    print(json.dumps({"seconds": time.perf_counter() - started, "keys": len(found)}), flush=True)
    server.close()
