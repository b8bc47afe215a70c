"""The indicators service: `uvicorn --factory services.indicators.main:create`."""

from __future__ import annotations

from fastapi import FastAPI

from services.indicators import api, boards_api, captures_api, changes_api
from shared import logging
from shared.app import create_app
from shared.settings import get_settings

routers = (api.router, boards_api.router, changes_api.router, captures_api.router)


def create() -> FastAPI:
    settings = get_settings()
    logging.configure(settings.log_level)
    return create_app("chiso · indicators", *routers, settings=settings, workers=("indicators",))
