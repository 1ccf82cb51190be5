"""The mutants: mistakes of the server and the SDK, each of which the suite must find.

A mutant names a file, a text that occurs in the file exactly once, and its replacement; then the faults and the
database that show the mistake soonest. Run a new mutant by `make mutants ARGS=name`.
"""

from dataclasses import dataclass, field

SQLITE = "sqlite"
MYSQL = "mysql"

_KILLS = ("kill_server", "kill_server_at_answer")
_BREAKS = ("cut_connections", "stall_connections")
_UNITS = ("kill_unit", "freeze_unit", "stop_unit")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a file."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: its meaning, its edits, and the faults that show it."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    faults: tuple[str, ...] = ()
    database: str = SQLITE
    # The suite must break at least one of these invariants.
    breaks: tuple[str, ...] = field(default=())


_CORE = "server/taskplane/server/core"
_TASKS = "server/taskplane/server/tasks"
_IDEMPOTENCY = "server/taskplane/server/idempotency"
_STORE = "server/taskplane/server/store"
_UNITS_OF_SERVER = "server/taskplane/server/execution_units"
_SERVICES = "server/taskplane/server/services"
_GATEWAY = "server/taskplane/gateway"
_SDK = "unit_sdk/taskplane/unit"

MUTANTS = (
    Mutant(
        "checkpoint-not-stored",
        "A checkpoint is acknowledged and not stored.",
        (Edit(f"{_CORE}/reports.py", "stored = Effect(task).store(checkpoint)\n", "stored = Effect(task)\n"),),
        _UNITS,
        breaks=("acknowledged_checkpoints_are_stored",),
    ),
    Mutant(
        "paused-without-checkpoint",
        "PAUSED is stored without the checkpoint of the same report.",
        (
            Edit(
                f"{_CORE}/reports.py",
                "effect = Effect(task).store(checkpoint)\n    warning",
                "effect = Effect(task)\n    warning",
            ),
        ),
        breaks=("acknowledged_checkpoints_are_stored",),
    ),
    Mutant(
        "pause-dropped-on-reconnect",
        "A pause or cancel that waits is not sent to a unit that reconnects.",
        (Edit(f"{_CORE}/inventory.py", "if task.pending_command and not task.is_final:", "if False:"),),
        ("cut_while_pausing", "cut_connections"),
        breaks=("commands_reach_their_units",),
    ),
    Mutant(
        "command-not-sent",
        "A pause or cancel is recorded and not sent to a unit that is connected.",
        (
            Edit(
                f"{_UNITS_OF_SERVER}/delivery.py",
                "if task.pending_command and not event.transition",
                "if False and not event.transition",
            ),
        ),
        breaks=("commands_reach_their_units",),
    ),
    Mutant(
        "request-not-stored",
        "The idempotency record of a call is not stored.",
        (Edit(f"{_TASKS}/group_commit.py", "calls.write(work.now)", "pass"),),
        breaks=("requests_take_effect_once", "created_tasks_are_there_once", "repeats_are_answered_as_the_first"),
    ),
    Mutant(
        "answer-not-stored",
        "The response of a call is not stored, so a late repeat gets the task's present state.",
        (
            Edit(
                f"{_IDEMPOTENCY}/responses.py",
                "for request_id, (_, response) in flushed.items()})",
                "for request_id, (_, response) in ()})",
            ),
        ),
        breaks=("repeats_are_answered_as_the_first",),
    ),
    Mutant(
        "watch-loses-the-seam",
        "A resumed watch loses the event between replay and live events.",
        (Edit(f"{_SERVICES}/watching.py", "if each.revision <= until]", "if each.revision < until]"),),
        breaks=("every_watch_told_every_transition_once",),
    ),
    Mutant(
        "cancelled-ignored",
        "A unit's `cancelled` report changes nothing.",
        (
            Edit(
                f"{_CORE}/reports.py",
                "if message else reason\n    return Effect(task).cancel(now=now, by=by, reason=reason)",
                "if message else reason\n    return Effect(task)",
            ),
        ),
        breaks=("acknowledged_endings_are_in_the_history",),
    ),
    Mutant(
        "fence-skipped",
        "Reports of older attempts count.",
        (
            Edit(
                f"{_CORE}/fence.py",
                "if reason := drop_reason(task, sender):\n        raise",
                "if (reason := drop_reason(task, sender)) and False:\n        raise",
            ),
        ),
        breaks=("ends_are_as_the_unit_said", "attempts_that_are_over_are_dropped"),
    ),
    Mutant(
        "fence-ignores-the-attempt",
        "Reports of older attempts count, if they are those of the task's unit.",
        (Edit(f"{_CORE}/fence.py", "if task.attempt != sender.attempt or task", "if task"),),
        breaks=("ends_are_as_the_unit_said", "attempts_that_are_over_are_dropped"),
    ),
    Mutant(
        "lease-too-short",
        "A unit is taken for lost after a third of its lease.",
        (
            Edit(
                f"{_UNITS_OF_SERVER}/leases.py",
                "if now - unit.heard_at > self._lease_seconds:",
                "if now - unit.heard_at > self._lease_seconds / 3:",
            ),
        ),
        ("freeze_unit", "stall_connections"),
        breaks=("leases_are_kept",),
    ),
    Mutant(
        "answered-before-commit",
        "Callers are answered before the transaction is committed.",
        (
            Edit(
                f"{_STORE}/writer.py",
                "            await self._commit(decided)\n        except Exception as error:",
                "            pending.succeed(decided.result)\n            await self._commit(decided)\n"
                "        except Exception as error:",
            ),
            Edit(
                f"{_STORE}/writer.py",
                "            await self._commit(decided)\n        except Exception:\n",
                "            pending.succeed(decided.result)\n            await self._commit(decided)\n"
                "        except Exception:\n",
            ),
            Edit(
                f"{_STORE}/pending_transaction.py",
                "self._result.set_result(result)",
                "self._result.done() or self._result.set_result(result)",
            ),
        ),
        _KILLS,
        MYSQL,
        breaks=("answers_are_in_the_history", "reads_never_go_back"),
    ),
    Mutant(
        "committed-a-moment-later",
        "Callers are answered, and a moment later the transaction is committed.",
        (
            Edit(
                f"{_STORE}/writer.py",
                "            await with_timeout(decided.commit)\n",
                "            loop = asyncio.get_running_loop()\n"
                "            loop.call_later(0.01, lambda: asyncio.ensure_future(with_timeout(decided.commit)))\n",
            ),
        ),
        _KILLS,
        breaks=(
            "answers_are_in_the_history",
            "reads_never_go_back",
            "watches_go_on_from_every_revision_that_was_told",
        ),
    ),
    Mutant(
        "history-row-missing",
        "A change of status to PENDING is stored without its row of the history.",
        (
            Edit(
                f"{_TASKS}/unit_of_work.py",
                "[each for each in transitions if each.task_id not in self._deleted]",
                "[each for each in transitions if each.to_status != 'PENDING' or each.from_status is None]",
            ),
        ),
        breaks=("history_is_a_path_in_the_table",),
    ),
    Mutant(
        "retry-counted-twice",
        "A retry counts for two.",
        (Edit(f"{_CORE}/reports.py", "retry_count=task.retry_count + 1,", "retry_count=task.retry_count + 2,"),),
        breaks=("retries_are_counted_once",),
    ),
    Mutant(
        "retry-forgets-the-checkpoint",
        "A retry begins from scratch.",
        (
            Edit(
                f"{_CORE}/reports.py",
                "        not_before=now + wait,\n",
                "        not_before=now + wait,\n        checkpoint=None,\n",
            ),
        ),
        breaks=("acknowledged_checkpoints_are_continued_from",),
    ),
    Mutant(
        "revision-not-raised",
        "A change of anything but the status leaves the revision as it was.",
        (
            Edit(
                f"{_TASKS}/unit_of_work.py",
                "task = step.task.but(revision=revision)",
                "task = step.task.but(revision=revision) if step.transition else step.task",
            ),
        ),
        breaks=("watches_go_on_from_every_revision_that_was_told",),
    ),
    Mutant(
        "priority-ignored",
        "The queue does not look at priorities.",
        (Edit(f"{_CORE}/task_queue.py", "return -priority, queued_at, task_id", "return 0, queued_at, task_id"),),
        breaks=("higher_priorities_go_first",),
    ),
    Mutant(
        "superseded-attempt-not-dropped",
        "A unit that holds an attempt paused is not notified that the task continues elsewhere.",
        (
            Edit(
                f"{_UNITS_OF_SERVER}/delivery.py",
                "if released and dispatch.held_attempt is None:",
                "if False:",
            ),
        ),
        breaks=("superseded_attempts_are_dropped", "units let go of all attempts"),
    ),
    Mutant(
        "slot-not-freed",
        "A pause does not free the slot.",
        (
            Edit(
                f"{_TASKS}/dispatcher.py",
                "if self._work.tasks[task_id].status is not TaskStatus.RUNNING:",
                "if self._work.tasks[task_id].status not in {TaskStatus.RUNNING, TaskStatus.PAUSED}:",
            ),
            Edit(
                f"{_UNITS_OF_SERVER}/registry.py",
                "elif event.transition or event.deleted:",
                "elif (event.transition and task.status is not TaskStatus.PAUSED) or event.deleted:",
            ),
        ),
        breaks=("units loaded with what runs there alone", "nothing_is_left_over"),
    ),
    Mutant(
        "progress-over-a-newer-status",
        "Progress is written to tasks that are over.",
        (
            Edit(f"{_STORE}/live_rows.py", "\"status IN ('RUNNING', 'PAUSED')\"", "\"status <> 'PENDING'\""),
            Edit(
                f"{_STORE}/live_rows.py",
                '_IS_NEWER = "COALESCE(given.progress_at >= tasks.progress_at, given.progress_at IS NOT NULL)"',
                '_IS_NEWER = "1 = 1"',
            ),
            Edit(f"{_TASKS}/progress_cache.py", "        self._dirty.discard(task_id)\n", ""),
            Edit(f"{_TASKS}/progress_cache.py", "self._cached.pop(task_id, None)", "pass"),
        ),
        breaks=("progress_is_not_older_than_the_status",),
    ),
    Mutant(
        "deletion-not-kept",
        "Tombstones for absent watches are not stored.",
        (
            Edit(
                f"{_TASKS}/unit_of_work.py",
                "self._transaction.insert_deletions(self._deletions, self.now)",
                "pass",
            ),
        ),
        breaks=("every_watch_told_every_deletion_once",),
    ),
    Mutant(
        "older-server-goes-on",
        "A server does not notice, when it writes, that another one has taken over.",
        (
            Edit(f"{_STORE}/dialects/mysql_sessions.py", "1, ~0 + {epoch + 1})", "1, 1)"),
            Edit(f"{_STORE}/dialects/sqlite.py", "ELSE abs(-9223372036854775808) END", "ELSE 1 END"),
        ),
        ("roll_over",),
    ),
    Mutant(
        "start-sent-to-another-process",
        "A start that was not accepted is sent again to a unit's next process.",
        (Edit(f"{_CORE}/inventory.py", "case TaskStatus.RUNNING if self.is_new_process:", "case _ if False:"),),
        ("kill_server_and_unit",),
        breaks=("an_attempt_is_executed_once",),
    ),
    Mutant(
        "lost-with-what-was-asked",
        "A pause or cancel that waits is forgotten when its unit is lost.",
        (Edit(f"{_CORE}/reports.py", "    if pending is None:\n        return None\n", "    return None\n"),),
        _UNITS,
        breaks=("what_was_asked_for_holds_without_the_unit",),
    ),
    Mutant(
        "acknowledged-before-commit",
        "Reports are acknowledged before they are durable.",
        (
            Edit(
                f"{_UNITS_OF_SERVER}/report_pipeline.py",
                "        elif not self._blocked.is_set():\n",
                "        elif not self._blocked.is_set():\n            self._link.acknowledge(report.sequence)\n",
            ),
        ),
        (*_KILLS, "stop_server"),
        MYSQL,
        breaks=("acknowledged_checkpoints_are_stored", "acknowledged_endings_are_in_the_history"),
    ),
    Mutant(
        "rest-forgets-the-request-id",
        "The REST API makes a call again that has a request id.",
        (
            Edit(
                f"{_GATEWAY}/requests.py",
                "        if not request_id:\n            return None\n",
                "        return None\n",
            ),
        ),
        breaks=("requests_take_effect_once", "created_tasks_are_there_once"),
    ),
    Mutant(
        "rest-forgets-who-asks",
        "The REST API does not pass on the caller's name.",
        (
            Edit(
                f"{_GATEWAY}/requests.py",
                "        self._prepare(message, value)\n",
                "        self._prepare(message, value)\n"
                '        hasattr(message, "context") and message.context.ClearField("actor")\n',
            ),
        ),
        breaks=("the_history_names_who_asked",),
    ),
    Mutant(
        "callback-answered-before-commit",
        "An HTTP unit's callback is answered before the report is durable.",
        (
            Edit(
                f"{_UNITS_OF_SERVER}/callbacks.py",
                "drop = await self._report_handler.handle(session, report) or drop",
                "session.settling = __import__('asyncio').ensure_future(self._report_handler.handle(session, report))",
            ),
        ),
        (*_KILLS, "stop_server"),
        MYSQL,
        breaks=("acknowledged_checkpoints_are_stored", "acknowledged_endings_are_in_the_history"),
    ),
    Mutant(
        "sdk-forgets-what-was-not-acknowledged",
        "The SDK does not repeat unacknowledged reports.",
        (Edit(f"{_SDK}/report_queue.py", "self._unsent = self._sent | self._unsent", "pass"),),
        (*_BREAKS, "stop_server"),
    ),
    Mutant(
        "sdk-does-not-pause",
        "The SDK accepts a pause and continues.",
        (
            Edit(
                f"{_SDK}/command_handler.py", "return partial(attempt.signal, StopSignal.PAUSE)", "return lambda: None"
            ),
        ),
        breaks=("obeyed_commands_stop_the_attempt",),
    ),
    Mutant(
        "sdk-without-self-fence",
        "The SDK continues after the end of its lease.",
        (Edit(f"{_SDK}/lease.py", "return self._seconds_left() > 0 and not self._has_lapsed", "return True"),),
        ("freeze_unit", "stall_connections"),
        breaks=("attempts_do_not_overlap",),
    ),
)
