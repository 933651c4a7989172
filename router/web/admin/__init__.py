"""The admin API: how an operator, or the command line, looks into a running router and changes its queue.

HTTP with JSON. A request names this machine as its Host, comes from no other origin's page, and shows the token that
the router writes to admin.token in its spool at each start.

    GET  /healthz                      200 {"status": "ok"}, or 503 with why nothing is accepted; needs no token
    GET  /api/status                   what `dicom-router status` shows
    GET  /api/queue                    deliveries; ?state= ?destination= ?limit= ?after= ?phi=1
    GET  /api/queue/{id}               one message and its deliveries; ?phi=1
    GET  /api/queue/{id}/export        its object as a file of PS3.10
    GET  /api/steps                    procedure steps; ?stage= ?stale= ?limit= ?phi=1
    GET  /api/steps/{uid}              one step, its messages and its instances; ?phi=1
    GET  /api/commitments              storage commitment transactions; ?before= ?limit=
    GET  /api/commitments/{uid}        one transaction
    GET  /api/commitments/report       what archives have committed to; ?day= ?study= ?after= ?limit=
    POST /api/steps/discard            forget steps in progress, for a reason
    POST /api/queue/{action}           retry, hold, release or discard what a JSON selection chooses

Errors are {"error": words} with the status code that fits: 401 without the token, 403 from another host or origin.
"""

from router.web.admin.access import Policy, guarded
from router.web.admin.api import application
from router.web.admin.backend import Controls
from router.web.admin.server import AdminServer
from router.web.admin.token import TOKEN_FILE, new_token, read_token, write_token

__all__ = [
    "TOKEN_FILE",
    "AdminServer",
    "Controls",
    "Policy",
    "application",
    "guarded",
    "new_token",
    "read_token",
    "write_token",
]
