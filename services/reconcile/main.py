"""The reconcile service: `uvicorn --factory services.reconcile.main:create`."""

from __future__ import annotations

from fastapi import FastAPI

from services.reconcile import api, decisions_api
from shared import logging
from shared.app import create_app
from shared.settings import get_settings

routers = (api.router, decisions_api.router)


def create() -> FastAPI:
    settings = get_settings()
    logging.configure(settings.log_level)
    return create_app("chiso · reconcile", *routers, settings=settings, workers=("reconcile",))
