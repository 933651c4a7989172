"""Throughput measured: a generator of C-STOREs, a sink that remembers what came, and the way between the two.

It is meant for any storage SCP and any router, not for ours alone. The generator frames an object once and changes
nothing in it but its UID, so that what is measured is the peer. Every moment is one of the monotonic clock, which the
processes of a machine share. Not here: which files there are to send, and what a person is shown (`router.cli.bench`);
how programs are compared (`benchmarks` in a source checkout).
"""

from router.bench.errors import BenchError
from router.bench.generator import Generator, Load
from router.bench.made import SMALLEST, made
from router.bench.mixture import Mixture, read_mixture
from router.bench.passage import Passage, SinkProcess, pass_through
from router.bench.records import Records
from router.bench.reports import report_arrivals, report_load, report_passage
from router.bench.sink import Arrival, Behaviour, Sink
from router.bench.statistics import percentile, summary
from router.bench.templates import Template, template_of_file
from router.bench.uids import Uids

__all__ = [
    "SMALLEST",
    "Arrival",
    "Behaviour",
    "BenchError",
    "Generator",
    "Load",
    "Mixture",
    "Passage",
    "Records",
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
