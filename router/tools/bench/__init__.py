"""Measure throughput: a generator of C-STORE requests, a sink that records what arrives, and a route between them.

For any storage SCP and any router. Generator and sink are processes with blocking sockets, and the generator frames an
object once and changes only its UID, so that the peer is what is measured; both tell how much CPU they used. All times
are of the monotonic clock, which the processes of a machine share. Not here: the choice of
files and what the operator sees (`router.cli.bench`); the comparison of programs (`benchmarks` in a source checkout).
"""

from router.tools.bench.errors import BenchError
from router.tools.bench.generator import Generator
from router.tools.bench.load import Load, Mixture, read_mixture
from router.tools.bench.objects import SMALLEST, InstanceUIDs, Template, ct_template, file_template
from router.tools.bench.receiver import Behaviour
from router.tools.bench.report import interpreter, percentile, report_arrivals, report_load, report_route, summary
from router.tools.bench.results import Results
from router.tools.bench.route import RouteBench
from router.tools.bench.sink import Arrival, Sink

__all__ = [
    "SMALLEST",
    "Arrival",
    "Behaviour",
    "BenchError",
    "Generator",
    "InstanceUIDs",
    "Load",
    "Mixture",
    "Results",
    "RouteBench",
    "Sink",
    "Template",
    "ct_template",
    "file_template",
    "interpreter",
    "percentile",
    "read_mixture",
    "report_arrivals",
    "report_load",
    "report_route",
    "summary",
]
