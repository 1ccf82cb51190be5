"""The validator: pure functions over the evidence of a run, each an invariant that yields its violations."""

from collections.abc import Callable, Iterator

from robustness import check_answers, check_execution, check_history
from robustness.evidence import Evidence

Check = Callable[[Evidence], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    check_answers.answers_are_in_the_history,
    check_answers.created_tasks_are_there_once,
    check_answers.deleted_tasks_are_gone,
    check_answers.errors_are_in_the_catalogue,
    check_answers.checkpoints_that_were_shown_are_kept,
    check_history.history_is_a_path_in_the_table,
    check_history.attempts_only_grow,
    check_history.tasks_agree_with_their_history,
    check_history.every_task_is_final,
    check_history.nothing_is_left_over,
    check_history.the_watch_told_every_transition_once,
    check_history.the_watch_told_every_deletion_once,
    check_execution.attempts_do_not_overlap,
    check_execution.an_attempt_is_executed_once,
    check_execution.steps_are_done_in_order,
    check_execution.checkpoints_stand_for_work_that_was_done,
    check_execution.successes_are_complete,
    check_execution.reports_come_from_the_units_that_ran_the_attempt,
    check_execution.capacity_is_kept,
)


def violations(evidence: Evidence) -> list[str]:
    """All violations of all invariants, each with the invariant's name."""
    return [f"{check.__name__}: {found}" for check in CHECKS for found in check(evidence)]
