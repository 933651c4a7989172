"""The admin API: the operator, or the command line, reads a running router and changes its queue.

HTTP with JSON. A request must name this machine as its Host, must not come from a page of another origin, and must send
the token that the router writes to admin.token in its spool at each start.

    GET  /healthz                      200 {"status": "ok"}, or 503 and the reason; needs no token
    GET  /api/status                   what `dicom-router status` shows
    GET  /api/queue                    deliveries; ?state= ?destination= ?limit= ?after= ?phi=1
    GET  /api/queue/{id}               one message and its deliveries; ?phi=1
    GET  /api/queue/{id}/export        its object as a file of PS3.10
    GET  /api/steps                    procedure steps; ?stage= ?stale= ?limit= ?phi=1
    GET  /api/steps/{uid}              one step, its messages and its instances; ?phi=1
    GET  /api/commitments              storage commitment transactions; ?before= ?limit=
    GET  /api/commitments/{uid}        one transaction
    GET  /api/commitments/report       sent, acknowledged, committed; ?day= ?study= ?after= ?limit=
    POST /api/steps/discard            forget steps in progress; {"uids": [...], "reason": "..."}
    POST /api/queue/{action}           retry, hold, release or discard the deliveries of a JSON selection

Errors are {"error": message} with a status code: 401 without the token, 403 from another host or origin.
"""
