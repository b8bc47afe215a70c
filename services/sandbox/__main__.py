"""python -m services.sandbox: both portals on one port. The only place that reads the real time."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime

import uvicorn

from services.sandbox.integrator import Target
from services.sandbox.server import create_app
from services.sandbox.world import World, default_anchor


def _now() -> datetime:
    return datetime.now(UTC)


def _arguments() -> argparse.Namespace:
    def option(name: str) -> str | None:
        return os.environ.get(f"CHISO_SANDBOX_{name}")

    parser = argparse.ArgumentParser(prog="python -m services.sandbox", description=__doc__)
    parser.add_argument("--host", default=option("HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=int(option("PORT") or 8090))
    parser.add_argument("--size", type=int, default=int(option("SIZE") or 20_000))
    parser.add_argument("--seed", type=int, default=int(option("SEED") or 766))
    parser.add_argument(
        "--anchor", default=option("ANCHOR"), help="ISO 8601; default: the first moment of today"
    )
    parser.add_argument("--until", default=option("UNTIL"), help="ISO 8601; default: the real time")
    parser.add_argument("--grant-list", action="store_true", default=option("GRANT_LIST") == "1")
    parser.add_argument("--username", default=option("USERNAME") or "H31")
    parser.add_argument("--password", default=option("PASSWORD") or "sandbox")
    parser.add_argument("--client-id", default=option("CLIENT_ID") or "chiso")
    parser.add_argument("--client-secret", default=option("CLIENT_SECRET") or "sandbox")
    parser.add_argument("--push-to", default=option("PUSH_TO"), help="address that has /dvcqg")
    parser.add_argument("--push-username", default=option("PUSH_USERNAME"))
    parser.add_argument("--push-password", default=option("PUSH_PASSWORD"), help="better by the environment")
    parser.add_argument("--follow", action="store_true", default=option("FOLLOW") == "1")
    return parser.parse_args()


def _moment(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise SystemExit(f"{text}: an offset is needed, such as +07:00")
    return read


def main() -> None:
    given = _arguments()
    world = World(
        seed=given.seed,
        size=given.size,
        anchor=_moment(given.anchor) if given.anchor else default_anchor(_now()),
        until=_moment(given.until) if given.until else _now,
    )
    push = None
    if given.push_to:
        push = Target(given.push_to, given.push_username or "", given.push_password or "")
    app = create_app(
        world,
        username=given.username,
        password=given.password,
        client_id=given.client_id,
        client_secret=given.client_secret,
        grant_list=given.grant_list,
        push=push,
        follow=_now if given.follow else None,
    )
    uvicorn.run(
        app,
        host=given.host,
        port=given.port,
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
