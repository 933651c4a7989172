"""The admin API: how a person, or the command line, looks into a running router and changes its queue.

HTTP with JSON on one address, meant for this machine or a trusted network: it asks nobody who they are.

    GET  /healthz                      200 {"status": "ok"}, or 503 with why nothing is accepted
    GET  /api/status                   what `dicom-router status` shows
    GET  /api/queue                    deliveries; ?state= ?destination= ?limit= ?after=
    GET  /api/queue/{id}               one message and its deliveries
    GET  /api/queue/{id}/export        its object as a file of PS3.10
    GET  /api/steps                    procedure steps; ?stage= ?limit= ?phi=1
    GET  /api/steps/{uid}              one step, its messages and its instances; ?phi=1
    POST /api/queue/{action}           retry, hold, release or discard what a JSON selection chooses

Errors are {"error": words} with the status code that fits.
"""

from router.admin.controls import Controls
from router.admin.server import serve_admin

__all__ = ["Controls", "serve_admin"]
