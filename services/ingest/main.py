"""The ingest service: `uvicorn --factory services.ingest.main:create`."""

from __future__ import annotations

from fastapi import FastAPI

from services.ingest import (
    api,
    capture_api,
    coverage_api,
    dvcqg,
    import_api,
    petitions_api,
    quarantine_api,
    receipts_api,
    reporting_counts_api,
    sync_api,
    units_api,
)
from shared import logging
from shared.app import create_app
from shared.settings import get_settings

routers = (
    api.router,
    capture_api.router,
    dvcqg.router,
    import_api.router,
    petitions_api.router,
    coverage_api.router,
    quarantine_api.router,
    receipts_api.router,
    reporting_counts_api.router,
    sync_api.router,
    units_api.router,
)


def create() -> FastAPI:
    settings = get_settings()
    logging.configure(settings.log_level)
    return create_app("chiso · ingest", *routers, settings=settings, workers=("ingest",))
