"""Build the requests of the N-services that the router invokes (PS3.7 10.1).

Each returns a `Command` with Message ID 1: the association that sends it assigns the real one. Unless told otherwise
a data set follows.
"""

from router.dimse.command import DATA_SET, NO_DATA_SET, Command, CommandField


def n_event_report(sop_class: str, sop_instance: str, event_type: int, *, data_set: bool = True) -> Command:
    """Build an N-EVENT-REPORT-RQ (PS3.7 10.1.1)."""
    return Command(
        field=CommandField.N_EVENT_REPORT_RQ,
        message_id=1,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=sop_instance,
        event_type_id=event_type,
        data_set_type=DATA_SET if data_set else NO_DATA_SET,
    )


def n_set(sop_class: str, sop_instance: str) -> Command:
    """Build an N-SET-RQ (PS3.7 10.1.3)."""
    return Command(
        field=CommandField.N_SET_RQ,
        message_id=1,
        requested_sop_class_uid=sop_class,
        requested_sop_instance_uid=sop_instance,
        data_set_type=DATA_SET,
    )


def n_action(sop_class: str, sop_instance: str, action_type: int) -> Command:
    """Build an N-ACTION-RQ (PS3.7 10.1.4)."""
    return Command(
        field=CommandField.N_ACTION_RQ,
        message_id=1,
        requested_sop_class_uid=sop_class,
        requested_sop_instance_uid=sop_instance,
        action_type_id=action_type,
        data_set_type=DATA_SET,
    )


def n_create(sop_class: str, sop_instance: str | None) -> Command:
    """Build an N-CREATE-RQ; without a SOP instance the SCP chooses one (PS3.7 10.1.5)."""
    return Command(
        field=CommandField.N_CREATE_RQ,
        message_id=1,
        affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=sop_instance,
        data_set_type=DATA_SET,
    )
