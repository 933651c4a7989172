"""Throughput measured: a generator of C-STOREs, a sink that remembers what came, and the way between the two.

It is meant for any storage SCP and any router, not for ours alone. The generator frames an object once and changes
nothing in it but its UID, so that what is measured is the peer. Every moment is one of the monotonic clock, which the
processes of a machine share. Not here: which files there are to send, and what a person is shown (`router.cli.bench`);
how programs are compared (`benchmarks` in a source checkout).
"""

from router.tools.bench.errors import BenchError
from router.tools.bench.load import Generator, Load
from router.tools.bench.made import SMALLEST, made
from router.tools.bench.mixture import Mixture, read_mixture
from router.tools.bench.objects import Template, template_of_file
from router.tools.bench.report import report_arrivals, report_load, report_passage
from router.tools.bench.results import Records
from router.tools.bench.route import RouteBench, SinkProcess, pass_through
from router.tools.bench.sink import Arrival, Behaviour, Sink
from router.tools.bench.statistics import percentile, summary
from router.tools.bench.uids import Uids

__all__ = [
    "SMALLEST",
    "Arrival",
    "Behaviour",
    "BenchError",
    "Generator",
    "Load",
    "Mixture",
    "Records",
    "RouteBench",
    "Sink",
    "SinkProcess",
    "Template",
    "Uids",
    "made",
    "pass_through",
    "percentile",
    "read_mixture",
    "report_arrivals",
    "report_load",
    "report_passage",
    "summary",
    "template_of_file",
]
