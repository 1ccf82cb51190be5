"""Checks of the clients' commands against the command log, the history, and the units' journals."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from robustness.evidence import Evidence
from robustness.records import Heard, Obeyed, StoredCommand, has_stream
from robustness.traffic import READS

_SETTLED = frozenset({"APPLIED", "REJECTED", "EXPIRED"})
_BECOMES = {"PAUSE": ("PAUSED", "RUNNING"), "RESUME": ("RUNNING", "PAUSED"), "CANCEL": ("CANCELLED", None)}
# Reasons in the history for ends of attempts whose unit is gone or inactive.
_LOST = ("unit lost", "stalled", "unit left", "did not accept", "without having accepted")
# Seconds between a command's transaction and its delivery to a connected unit.
_ON_ITS_WAY_SECONDS = 2.0
# Seconds between a sign of life and the messages right behind.
_BEHIND_SECONDS = 0.5
# Seconds between a drop and the end of its executor.
_LETTING_GO_SECONDS = 1.0
_REPLACED = frozenset({"roll_over", "replace_frozen_server"})
_SLOW = frozenset(
    {
        *(
            "kill_server",
            "kill_server_at_answer",
            "kill_server_and_unit",
            "stop_server",
            "freeze_server",
            "roll_over",
            "replace_frozen_server",
        ),
        *("stop_database", "kill_database", "lock_database", "delay_connections", "stall_connections"),
    }
)


def commands_are_settled(evidence: Evidence) -> Iterator[str]:
    """Check that no command is open in the end, and a command without effect has a message."""
    for command in evidence.commands:
        if command.state not in _SETTLED or command.settled_at is None:
            yield f"{_shown(command)} is still open"
        if command.state == "REJECTED" and not command.message:
            yield f"{_shown(command)} does not say why"


def applied_commands_are_in_the_history(evidence: Evidence) -> Iterator[str]:
    """Check that an applied command made its change of status, and the history names the caller and the reason."""
    for command in evidence.commands:
        to, since = _BECOMES[command.verb]
        path = evidence.history.get(command.task)
        if command.state == "APPLIED" and path is not None:
            changes = [each for each in path if each.to_status == to and since in {None, each.from_status}]
            of_attempt = [each for each in changes if each.attempt == command.attempt]
            if not any(each.by == command.actor and command.reason in each.reason for each in of_attempt):
                yield f"{_shown(command)} was applied, but the history has {of_attempt}"


def changes_that_were_asked_for_are_in_the_log(evidence: Evidence) -> Iterator[str]:
    """Check that a pause ascribed to a client in the history was an applied command."""
    applied = {(each.task, each.attempt, each.verb) for each in evidence.commands if each.state == "APPLIED"}
    for step in evidence.transitions:
        is_asked_for = step.to_status == "PAUSED" and step.by.startswith("client-")
        if is_asked_for and (step.task, step.attempt, "PAUSE") not in applied:
            yield f"{step} has no command that was applied"


def commands_that_were_shown_are_in_the_log(evidence: Evidence) -> Iterator[str]:
    """Check that a command returned as pending is in the command log."""
    logged = {command.id for command in evidence.commands}
    for call in evidence.calls:
        for seen in call.seen:
            if seen.pending and seen.pending not in logged and seen.task in evidence.history:
                yield f"{call.verb} by {call.client} was answered {seen}, whose command is not in the log"


def requests_take_effect_once(evidence: Evidence) -> Iterator[str]:
    """Check that a request changes each task once, however often repeated: its id is the reason in the history."""
    requests = {call.request for call in evidence.calls if call.request}
    effects = Counter(
        (step.task, step.to_status, token)
        for step in evidence.transitions
        for token in step.reason.split("; ")
        if token in requests
    )
    # A command without effect may be issued again.
    applied = [each for each in evidence.commands if each.reason in requests and each.state == "APPLIED"]
    effects += Counter((each.task, each.verb, each.reason) for each in applied)
    for (task, what, request), count in effects.items():
        if count > 1:
            yield f"task {task}: request {request} made it {what} {count} times"


def commands_reach_their_units(evidence: Evidence) -> Iterator[str]:
    """Check that a pending pause or cancel reaches the attempt's unit as soon as it is connected, again or still."""
    obeyed: dict[str, Obeyed] = {}
    for each in sorted(evidence.obeyed, key=lambda each: each.at):
        obeyed.setdefault(each.command, each)
    heard = defaultdict(list)
    for sign in evidence.heard:
        heard[sign.unit].append(sign)
    recorded = _recorded(evidence)
    for command in evidence.commands:
        unit = evidence.ran.get((command.task, command.attempt), "")
        if command.verb != "RESUME" and command.settled_at is not None and has_stream(unit):
            by = obeyed[command.id].at if command.id in obeyed else command.settled_at
            until = min(by, command.settled_at)
            found = in_touch(evidence, command.issued_at, heard[unit], until)
            found = found or _overtaking(evidence, recorded.get(command.id), heard[unit], until)
            if found:
                yield f"{_shown(command)} had not reached {unit} when that was in touch at {found.at:.3f}"


def what_was_asked_for_holds_without_the_unit(evidence: Evidence) -> Iterator[str]:
    """Check that a pending pause or cancel takes effect when its unit is lost."""
    for command in evidence.commands:
        end = evidence.ends.get((command.task, command.attempt))
        is_lost = end is not None and end.at >= command.issued_at and any(sign in end.reason for sign in _LOST)
        if (
            command.verb != "RESUME"
            and command.state == "EXPIRED"
            and is_lost
            and "took its place" not in command.message
        ):
            yield f"{_shown(command)} had no effect, though its unit was gone: {end}"


def obeyed_commands_stop_the_attempt(evidence: Evidence) -> Iterator[str]:
    """Once a unit has taken on a pause or cancel, the attempt passes no further safe point."""
    stopped: dict[tuple[int, int], Obeyed] = {}
    for each in evidence.obeyed:
        if each.is_accepted:
            stopped.setdefault((each.task, each.attempt), each)
    for step in evidence.steps:
        order = stopped.get((step.task, step.attempt))
        if order and step.asked > order.at and order.unit == step.unit:
            yield f"task {step.task}: attempt {step.attempt} did step {step.number} after {order}"


def superseded_attempts_are_dropped(evidence: Evidence) -> Iterator[str]:
    """Check that a connected unit drops an attempt, paused ones included, as soon as the task continues elsewhere."""
    ended = {each.execution: each.at for each in evidence.endings}
    last = {step.execution: step.attempt for step in evidence.steps}
    for begun in evidence.executions:
        attempt = max(begun.attempt, last.get(begun.execution, 0))
        later = [each.at for each in evidence.executions_of[begun.task] if each.attempt > attempt]
        signs = [sign for sign in evidence.heard if begun.execution.startswith(sign.process or "-")]
        if later and has_stream(begun.unit):
            until = ended.get(begun.execution, float("inf")) - _LETTING_GO_SECONDS
            if found := in_touch(evidence, min(later), signs, until):
                yield (
                    f"{begun.unit} held attempt {attempt} of task {begun.task} after the next one had begun, "
                    f"though it was in touch at {found.at:.3f}"
                )


def in_touch(evidence: Evidence, since: float, signs: list[Heard], until: float) -> Heard | None:
    """Return the first sign of life before `until` whose response must follow the news from `since`, if any."""
    unit = signs[0].unit if signs else ""
    after = evidence.undisturbed_after(since, _ON_ITS_WAY_SECONDS, _SLOW, unit)
    # Commands follow the Welcome of such a sign.
    return next((sign for sign in signs if after < sign.sent and sign.at + _BEHIND_SECONDS < until), None)


def _recorded(evidence: Evidence) -> dict[str, float]:
    """Return when each command was recorded and handed on for certain: the end of the call that issued the command."""
    recorded: dict[str, float] = {}
    for call in evidence.calls:
        for seen in call.seen:
            if seen.pending and call.verb not in READS:
                recorded[seen.pending] = min(call.ended, recorded.get(seen.pending, call.ended))
    return recorded


def _overtaking(evidence: Evidence, recorded: float | None, signs: list[Heard], until: float) -> Heard | None:
    """Return the first sign of life whose response overtook an earlier recorded command; None if there is none.

    No tolerance is needed: within a session, responses follow earlier messages, and commands recorded before the
    session follow its Welcome at once. A replaced server may still respond for a while.
    """
    later = (sign for sign in signs if recorded is not None and recorded < sign.sent and not sign.is_welcome)
    found = next((sign for sign in later if sign.at < until), None)
    if found is None or recorded is None:
        return None
    replaced = (each for each in evidence.faults if each.name in _REPLACED)
    return None if any(each.began < found.at and each.ended > recorded for each in replaced) else found


def _shown(command: StoredCommand) -> str:
    return f"{command.verb} of task {command.task}, attempt {command.attempt}, {command.state} {command.message!r},"
