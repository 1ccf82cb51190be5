"""Proofs that a command was not sent to a connected unit, and cases that prove nothing."""

from dataclasses import replace

from robustness.evidence import Evidence
from robustness.records import Call, Fault, Heard, Seen
from robustness.test_validate import GOOD, command, violates


def overtaken_command(*signs: Heard, verb: str = "pause", faults: tuple[Fault, ...] = ()) -> Evidence:
    """Return a run with a pause that the unit misses 0.1 s after its record, and receives 0.4 s later."""
    call = Call("c", verb, 1, 5.9, 6.0, "OK", seen=(Seen(1, "RUNNING", 5, 2, None, "PAUSE-2"),))
    obeyed = [replace(GOOD.obeyed[0], at=6.5)]
    pause = command("PAUSE", 2, issued_at=5.95, settled_at=7.0)
    heard = [*GOOD.heard, *(signs or [Heard("unit-2", 6.1, 6.2, "b")])]
    calls, commands = [*GOOD.calls, call], [pause, GOOD.commands[1]]
    return replace(GOOD, calls=calls, commands=commands, heard=heard, obeyed=obeyed, faults=faults)


def test_an_answer_that_overtakes_a_command_is_a_violation() -> None:
    assert violates(overtaken_command(), "commands_reach_their_units")


def test_neither_a_welcome_nor_the_answer_to_an_earlier_message_overtakes_a_command() -> None:
    welcome = Heard("unit-2", 6.1, 6.2, "b", is_welcome=True)
    earlier = Heard("unit-2", 5.99, 6.2, "b")
    later = Heard("unit-2", 6.4, 6.6, "b")
    assert not violates(overtaken_command(welcome, earlier, later), "commands_reach_their_units")


def test_a_read_does_not_show_that_a_command_was_handed_on() -> None:
    assert not violates(overtaken_command(verb="get"), "commands_reach_their_units")


def test_a_server_that_is_replaced_does_not_hand_on_what_the_next_one_records() -> None:
    replaced = (Fault("roll_over", "", 5.0, 6.05),)
    assert not violates(overtaken_command(faults=replaced), "commands_reach_their_units")
