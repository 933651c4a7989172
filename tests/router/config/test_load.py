"""Values of a configuration, and reports of its faults."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import AllTransferSyntaxes

from router.config import (
    Condition,
    Config,
    ConfigError,
    Endpoint,
    Fault,
    Globs,
    Networks,
    RouteOptions,
    ServiceOptions,
    parse,
)
from router.config.patterns import network, sop_classes, transfer_syntaxes
from router.model import SpoolSettings
from router.services import ROUTED, load_config, parse_config
from router.services.storage import StorageSettings

BASE = Path("/etc/router")
PACS = '[peers.pacs]\nae_title = "PACS"\naddress = "pacs:104"\n'


def read(content: str) -> Config:
    return parse_config(content, BASE)


def faults(content: str) -> dict[str, str]:
    """Return the faults of a configuration, from place to message."""
    with pytest.raises(ConfigError) as raised:
        read(content)
    assert str(raised.value) == "\n".join(map(str, raised.value.faults))
    return {fault.path: fault.message for fault in raised.value.faults}


def route(lines: str = "", to: str = '"pacs"') -> str:
    return f'{PACS}[[routes]]\nname = "r"\nservice = "storage"\nto = {to}\n{lines}\n'


# --- files ---


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text('[router]\nspool = "data/spool"\n')
    config = load_config(file)
    assert config.path == file
    assert config.router.spool == tmp_path / "data" / "spool"


def test_an_absolute_path_is_not_changed() -> None:
    assert read('[router]\nspool = "/var/spool/dicom"').router.spool == Path("/var/spool/dicom")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"# \xff", "is not UTF-8 text: byte 2 does not fit"),
        (b"[router", "this is not TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "router.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    (fault,) = raised.value.faults
    assert fault.path == ""
    assert words in str(fault)


def test_an_empty_file_is_valid() -> None:
    config = read("")
    assert config.peers == {}
    assert [str(listener.address) for listener in config.listeners] == ["0.0.0.0:11112"]


# --- former names ---


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("commit = true", "commitment.request"),
        ("commit_batch = 10", "commitment.batch"),
        ('commit_after = "1m"', "commitment.after"),
        ('commit_within = "1h"', "commitment.within"),
        ("commit_attempts = 2", "commitment.attempts"),
        ('commitment_reply = "same"', "commitment.reply"),
    ],
)
def test_a_former_key_of_commitment_is_refused_with_its_new_name(line: str, name: str) -> None:
    assert faults(f"{PACS}{line}\n") == {
        f"peers.pacs.{line.split()[0]}": f"there is no such key: its name is {name} now"
    }


def test_storage_commitment_may_be_another_ae_of_the_same_system() -> None:
    config = read(
        PACS
        + 'commitment = { ae_title = "PACS_SC", address = "pacs:105" }\n'
        + '[peers.vna]\nae_title = "VNA"\naddress = "vna:104"\ncommitment = { ae_title = "VNA", address = "" }\n'
        + '[peers.mr]\nae_title = "MR"\ncommitment.ae_title = "MR_SC"\n'
    )
    assert {name: (one.ae_title, one.address and str(one.address)) for name, one in config.destinations.items()} == {
        "pacs": ("PACS", "pacs:104"),
        "pacs:storage-commitment": ("PACS_SC", "pacs:105"),
        "vna": ("VNA", "vna:104"),
        "mr": ("MR", None),
        "mr:storage-commitment": ("MR_SC", None),
    }


# --- every fault at once ---


def test_all_faults_are_reported_at_once_with_place_and_suggestion() -> None:
    assert faults(
        """
        ruter = 1
        [router]
        ae_titel = "X"
        listen = ["1.2.3.4:104", "x"]
        [timeouts]
        idle = 30
        [peers.pacs]
        address = "pacs:0"
        [[routes]]
        name = "ct"
        service = "tracking"
        when = { Modalty = "CT", sop_class = ["CTImageStorag", "1.2.*"] }
        to = ["pac"]
        final = "yes"
        """
    ) == {
        "ruter": 'there is no such key; did you mean "router"?',
        "router.ae_titel": 'there is no such key; did you mean "ae_title"?',
        "router.listen[1]": 'must be written "host:port", or "[host]:port" for an IPv6 address, not "x"',
        "timeouts.idle": '30 has no unit: write it like "30s"',
        "peers.pacs.address": '"pacs:0" has port 0, to which nobody can connect',
        "peers.pacs.ae_title": "is missing",
        'routes["ct"].service': 'there is no service "tracking" in this version of the router; a route can be for: '
        + ", ".join(ROUTED),
        'routes["ct"].when.Modalty': (
            'is not a key of `when`, a DICOM keyword or a (gggg,eeee); did you mean "Modality"?'
        ),
        'routes["ct"].when.sop_class[0]': (
            '"CTImageStorag" is not a SOP Class known by name; did you mean "CTImageStorage"?'
        ),
        'routes["ct"].to': 'there is no peer "pac"; did you mean "pacs"?',
        'routes["ct"].final': 'must be true or false, without quotation marks, not "yes"',
    }


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ("router = 1", "router", "must be a table, not 1"),
        ("peers = 1", "peers", "must be tables with a name each, such as [peers.pacs]"),
        ("[peers]\npacs = 1", "peers.pacs", "must be a table, not 1"),
        ("[routes]", "routes", "must be written with double brackets: [[routes]]"),
        ("[listeners]", "listeners", "must be written with double brackets: [[listeners]]"),
        ("routes = [1]", "routes[0]", "must be a table, not 1"),
        ("[[routes]]", "routes[0].name", "is missing"),
        ("[[routes]]", "routes[0].to", "is missing"),
        ("[[listeners]]", "listeners[0].address", "is missing"),
        ("[router]\nlisten = []", "router.listen", "is empty and there are no [[listeners]]: nobody could connect"),
        ('[router]\nlisten = ["a:1", "a:1"]', "router.listen", '"a:1" is listened on 2 times'),
        ("[router]\nspool = ''", "router.spool", 'must be a path, not ""'),
        ("[router]\nspool = 1", "router.spool", "must be text in quotation marks, not 1"),
        ("[router]\nunrouted = 'drop'", "router.unrouted", 'must be "refuse" or "hold", not "drop"'),
        ("[limits]\nassociations = 0", "limits.associations", "must be a whole number from 1 to 100000, not 0"),
        ("[limits]\nassociations = true", "limits.associations", "must be a whole number from 1 to 100000, not true"),
        ("[limits]\ncommand_set = '1B'", "limits.command_set", 'must be from 1KiB to 16MiB, not "1B"'),
        ("[access]\ncalling_ae = ''", "access.calling_ae", 'is empty and would match nothing; "*" matches everything'),
        ("[access]\ncalling_ae = [[]]", "access.calling_ae[0]", "must be text in quotation marks, not a list"),
        ("[storage]\nprefer = '1.02'", "storage.prefer", '"1.02" is not a UID: it must be numbers without leading zeros'
         " joined by dots, at most 64 characters"),
        ("[spool]\nlarge_object = '64MiB'", "spool.large_object", "is more than spool.memory, so that the largest small"
         " object would never fit"),
        (PACS + "retry = { first = '1h' }", "peers.pacs.retry.max", "is less than the first pause"),
        (PACS + "retry = { give_up = '1s' }", "peers.pacs.retry.give_up", "is less than the first pause"),
        (PACS + "retry = { factor = 0.5 }", "peers.pacs.retry.factor", "must be a number from 1 to 100, not 0.5"),
        (PACS + "retry = 1", "peers.pacs.retry", "must be a table, not 1"),
        ('[peers."a b"]\nae_title="A"', "peers.a b", "\"a b\" cannot name a peer: use 1 to 64 letters, digits, '.', '-'"
         " and '_', and begin with a letter or digit"),
        ('[peers.x]\nae_title="X"\n[[routes]]\nname="r"\nservice="storage"\nto="x"', 'routes["r"].to',
         'the peer "x" has no address, so nothing can be sent to it'),
        (route(to="[]"), 'routes["r"].to', "is empty: a route must lead to at least one peer"),
        (route(to="[1]"), 'routes["r"].to[0]', "must be text in quotation marks, not 1"),
        (route() + '[[routes]]\nname = "r"\nservice = "storage"\nto = "pacs"', 'routes["r"].name',
         "is the name of an earlier route too"),
        ('[[routes]]\nname = " "', 'routes[" "].name', 'must be one line of 1 to 200 characters, not " "'),
    ],
)  # fmt: skip
def test_a_fault_is_reported_with_its_place(content: str, path: str, message: str) -> None:
    assert faults(content)[path] == message


def test_a_fault_in_a_peer_is_not_repeated_for_the_routes_to_it() -> None:
    assert list(faults(route().replace('"PACS"', '""'))) == ["peers.pacs.ae_title"]


def test_hostile_text_is_shown_escaped_and_short() -> None:
    message = faults(f'[router]\nunrouted = "\\u001b[2J{"x" * 500}"')["router.unrouted"]
    assert message.isprintable()
    assert len(message) < 150


def test_a_fault_without_a_place_is_its_message() -> None:
    assert str(Fault("", "words")) == "words"


# --- values ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("7d", 604800), (" 2 s ", 2), ("3650d", 315360000)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert read(f'[timeouts]\nartim = "{text}"').timeouts.artim == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 year", "1e3s", "30S", "3651d", "0s", "٣s", "9" * 400 + "s"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    assert "timeouts.artim" in faults(f'[timeouts]\nartim = "{text}"')


def test_linger_and_shutdown_grace_may_be_zero() -> None:
    config = read(PACS + 'linger = "0s"\n[router]\nshutdown_grace = "0s"')
    assert (config.peers["pacs"].linger, config.router.shutdown_grace) == (0, 0)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0B", 0), ("12KB", 12000), ("64KiB", 65536), ("1.5MiB", 1572864), ("1GB", 10**9), ("1TiB", 1 << 40)],
)
def test_sizes_are_bytes(text: str, count: int) -> None:
    assert read(f'[spool]\nfree_space_floor = "{text}"').spool.free_space_floor == count


@pytest.mark.parametrize("text", ['"1"', '"1 MB/s"', '"1mib"', "1048576", "1.5", "true", "[]"])
def test_an_invalid_size_is_refused(text: str) -> None:
    assert "spool.free_space_floor" in faults(f"[spool]\nfree_space_floor = {text}")


@pytest.mark.parametrize(("text", "length"), [("0", 0), ("4096", 4096), ("1048576", 1 << 20), ('"128KiB"', 131072)])
def test_a_maximum_pdu_length_is_0_or_4096_to_1_mib(text: str, length: int) -> None:
    assert read(f"[router]\nmaximum_pdu_length = {text}").router.maximum_pdu_length == length


@pytest.mark.parametrize("text", ["4095", "1048577", "-1", "true", "1.5", '"1KiB"', '"x"'])
def test_any_other_maximum_pdu_length_is_refused(text: str) -> None:
    assert "router.maximum_pdu_length" in faults(f"[router]\nmaximum_pdu_length = {text}")


@pytest.mark.parametrize("title", ["", "    ", "X" * 17, "A\\\\B", "A\\u0007", "Ä"])
def test_an_invalid_ae_title_is_refused(title: str) -> None:
    assert "router.ae_title" in faults(f'[router]\nae_title = "{title}"')


def test_outer_spaces_of_an_ae_title_are_ignored() -> None:
    assert read('[router]\nae_title = " CT 1  "').router.ae_title == "CT 1"


@pytest.mark.parametrize("uid", ["", "1", "1..2", "01.2", "1.02", "1.2.", "1." + "1" * 63, "a.b"])
def test_an_invalid_uid_is_refused(uid: str) -> None:
    assert "router.implementation_class_uid" in faults(f'[router]\nimplementation_class_uid = "{uid}"')


@pytest.mark.parametrize("name", ["", "X" * 17, "Ä", "\\n"])
def test_an_invalid_implementation_version_name_is_refused(name: str) -> None:
    assert "router.implementation_version_name" in faults(f'[router]\nimplementation_version_name = "{name}"')


def test_an_implementation_version_name_is_not_changed() -> None:
    assert read('[router]\nimplementation_version_name = "X 1"').router.implementation_version_name == "X 1"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.0.0.5:104", Endpoint(host="10.0.0.5", port=104)),
        ("[fd00::17]:0", Endpoint(host="fd00::17", port=0)),
        ("[fe80::1%eth0]:104", Endpoint(host="fe80::1%eth0", port=104)),
        ("localhost:65535", Endpoint(host="localhost", port=65535)),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, endpoint: Endpoint) -> None:
    assert read(f'[admin]\nlisten = "{text}"\nplaintext = true').admin.listen == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":104", "host:65536", "fd00::17:104", "a b:104", "http://x:1"])
def test_an_invalid_address_is_refused(text: str) -> None:
    assert "admin.listen" in faults(f'[admin]\nlisten = "{text}"')


@pytest.mark.parametrize("host", ["pacs..local", ".pacs", "a" * 64, "a." * 127 + "bc", "ä" * 63])
def test_an_impossible_host_name_is_refused(host: str) -> None:
    text = f'[peers.pacs]\nae_title = "PACS"\naddress = "{host}:104"'
    assert "cannot be a host name" in faults(text)["peers.pacs.address"]


@pytest.mark.parametrize("host", ["my_pacs", "pacs.local.", "bücher.example", "a" * 63])
def test_unusual_host_names_are_allowed(host: str) -> None:
    address = read(f'[peers.pacs]\nae_title = "PACS"\naddress = "{host}:104"').peers["pacs"].address
    assert address == Endpoint(host=host, port=104)


# --- where tables meet ---


def test_title_and_pdu_length_of_a_listener_default_to_those_of_the_router() -> None:
    config = read(
        """
        [router]
        ae_title = "MAIN"
        maximum_pdu_length = 16384
        listen = ["a:1", "a:2"]
        [[listeners]]
        address = "a:3"
        ae_title = "OTHER"
        [[listeners]]
        address = "a:4"
        maximum_pdu_length = 0
        """
    )
    assert [(str(one.address), one.ae_title, one.maximum_pdu_length) for one in config.listeners] == [
        ("a:1", "MAIN", 16384),
        ("a:2", "MAIN", 16384),
        ("a:3", "OTHER", 16384),
        ("a:4", "MAIN", 0),
    ]


def test_listeners_replace_the_default_address() -> None:
    config = read('[[listeners]]\naddress = "a:3"')
    assert [str(listener.address) for listener in config.listeners] == ["a:3"]


def test_port_0_may_be_listed_more_than_once() -> None:
    assert len(read('[router]\nlisten = ["a:0", "a:0"]').listeners) == 2


def test_the_calling_ae_of_a_peer_defaults_to_the_title_of_the_router() -> None:
    config = read(
        '[router]\nae_title = "MAIN"\nmaximum_pdu_length = 0\n' + PACS + '[peers.x]\nae_title = "X"\ncalling_ae = "ME"'
    )
    assert (config.peers["pacs"].calling_ae, config.peers["x"].calling_ae) == ("MAIN", "ME")
    assert config.peers["pacs"].maximum_pdu_length == 0
    assert config.peers["x"].address is None


def test_the_spool_gets_the_duplicates_key_of_storage() -> None:
    assert read('[storage]\nduplicates = "hold"\n[spool]\nmemory = "1GiB"').spool == SpoolSettings(
        memory=1 << 30, duplicates="hold"
    )


def test_one_entry_of_a_list_needs_no_brackets() -> None:
    assert read(route()).routes == read(route(to='["pacs"]')).routes


def test_a_route_may_be_for_every_service_that_the_caller_registers() -> None:
    content = route().replace('"storage"', '"mpps"')
    services = {"mpps": ServiceOptions(route=RouteOptions)}
    assert parse(content, BASE, services=services).routes[0].service == "mpps"


# --- conditions ---


def test_conditions_keep_the_order_of_the_file_and_have_tags() -> None:
    content = route('when = { peer = "10.0.0.0/8", Modality = ["CT", "MR"], "(0009,10FF)" = 3, SliceThickness = 0.5 }')
    assert read(content).routes[0].when == (
        Condition(key="peer", tag=None, values=("10.0.0.0/8",)),
        Condition(key="Modality", tag=0x00080060, values=("CT", "MR")),
        Condition(key="(0009,10FF)", tag=0x000910FF, values=(3,)),
        Condition(key="SliceThickness", tag=0x00180050, values=(0.5,)),
    )


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("when = 1", "must be a table, not 1"),
        ("when = { Modality = [] }", "is an empty list, which nothing can meet"),
        ("when = { Modality = true }", "must be text in quotation marks or a number, not true"),
        ("when = { StudyDate = 2024-01-01 }", "must be text in quotation marks or a number, not 2024-01-01"),
        ("when = { peer = '10.*' }", "must be a network like"),
        ("when = { calling_ae = 1 }", "must be text in quotation marks, not 1"),
        ("when = { sop_class = '1.02' }", "is not a UID"),
        ("when = { transfer_syntax = 'CTImageStorage' }", "is not a Transfer Syntax known by name"),
        ("when = { '(0002,0010)' = 'x' }", "names an element of group 0002; a data set begins with group 0008"),
        ("when = { CommandField = 1 }", "names an element of group 0000; a data set begins with group 0008"),
        ("when = { PixelData = 'x' }", "up to the pixel data, not into or beyond it"),
        ("when = { ReferencedStudySequence = 'x' }", "cannot be compared: its value representation is SQ"),
        ("when = { RedPaletteColorLookupTableData = 'x' }", "its value representation is OW"),
        ("when = { '(0008,00600)' = 'x' }", "or a (gggg,eeee)"),
    ],
)
def test_a_condition_that_can_never_be_met_is_a_fault(when: str, words: str) -> None:
    ((path, message),) = faults(route(when)).items()
    assert path.startswith('routes["r"].when')
    assert words in message


# --- patterns ---


def test_an_empty_list_of_patterns_matches_nothing() -> None:
    assert not Globs(()).matches("")
    assert not Networks(()).matches("10.0.0.1")
    assert not sop_classes(()).matches("1.2")


def test_a_network_may_have_host_bits() -> None:
    assert Networks((network("10.1.2.3/8"),)).matches("10.200.0.1")


@pytest.mark.parametrize(
    "written", ["1.2.840.10008.1.2.4.90", "JPEG2000Lossless", "jpeg 2000 image compression (lossless only)"]
)
def test_a_preferred_transfer_syntax_is_found_by_uid_keyword_and_name(written: str) -> None:
    (preferred,) = read(f'[storage]\nprefer = "{written}"').options[StorageSettings].prefer
    assert [uid for uid in AllTransferSyntaxes if preferred.matches(uid)] == ["1.2.840.10008.1.2.4.90"]


def test_an_unknown_uid_may_be_preferred() -> None:
    (preferred,) = read('[storage]\nprefer = "1.2.3"').options[StorageSettings].prefer
    assert preferred.matches("1.2.3")


def test_a_name_with_brackets_is_not_a_glob() -> None:
    lossless = "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"
    assert transfer_syntaxes((lossless,)).matches("1.2.840.10008.1.2.4.70")


# --- whatever the file ---

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(['"x"', '"*"', "1", "-1", "0.5", "nan", "true", "2024-01-01", '"10s"', '"a:1"', '""']),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda entries: f"[{', '.join(entries)}]")
        | st.tuples(st.sampled_from(["to", "when", "first", "Modality", "peer"]), inner).map(
            lambda entry: f"{{ {entry[0]} = {entry[1]} }}"
        )
    ),
    max_leaves=4,
)
TABLES = ["router", "timeouts", "limits", "access", "storage", "spool", "admin", "peers.x", "peers.x.retry", "odd"]
HEADS = st.sampled_from(["", "[[listeners]]", "[[routes]]", *(f"[{table}]" for table in TABLES)])
KEYS = st.sampled_from(
    ["ae_title", "address", "listen", "name", "service", "to", "when", "retry", "first", *TABLES[:6]]
)


@given(tables=st.lists(st.tuples(HEADS, st.dictionaries(KEYS, VALUES, max_size=4)), max_size=4))
def test_any_file_is_valid_or_has_faults(tables: list[tuple[str, dict[str, str]]]) -> None:
    lines = [line for head, keys in tables for line in (head, *(f"{key} = {value}" for key, value in keys.items()))]
    with suppress(ConfigError):
        parse_config("\n".join(lines), BASE)
