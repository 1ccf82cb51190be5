"""The validator: pure functions over the evidence of a run, each an invariant that yields its violations."""

from collections.abc import Callable, Iterator

from robustness import check_answers, check_commands, check_execution, check_history, check_queue, check_reports
from robustness.evidence import Evidence

Check = Callable[[Evidence], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    check_answers.answers_are_in_the_history,
    check_answers.created_tasks_are_there_once,
    check_answers.deleted_tasks_are_gone,
    check_answers.errors_are_in_the_catalogue,
    check_answers.checkpoints_that_were_shown_are_kept,
    check_answers.repeats_are_answered_as_the_first,
    check_answers.updates_hold,
    check_answers.stale_conditions_are_refused,
    check_answers.calls_on_many_tasks_change_no_other,
    check_answers.the_history_names_who_asked,
    check_answers.reads_never_go_back,
    check_commands.commands_are_settled,
    check_commands.applied_commands_are_in_the_history,
    check_commands.changes_that_were_asked_for_are_in_the_log,
    check_commands.commands_that_were_shown_are_in_the_log,
    check_commands.requests_take_effect_once,
    check_commands.commands_reach_their_units,
    check_commands.obeyed_commands_stop_the_attempt,
    check_commands.superseded_attempts_are_dropped,
    check_commands.what_was_asked_for_holds_without_the_unit,
    check_history.history_is_a_path_in_the_table,
    check_history.attempts_only_grow,
    check_history.tasks_agree_with_their_history,
    check_history.every_task_is_final,
    check_history.nothing_is_left_of_deleted_tasks,
    check_history.nothing_is_left_over,
    check_history.every_watch_told_every_transition_once,
    check_history.every_watch_told_every_deletion_once,
    check_history.watches_go_on_from_every_revision_that_was_told,
    check_history.snapshots_are_continued_without_a_gap,
    check_execution.attempts_do_not_overlap,
    check_execution.an_attempt_is_executed_once,
    check_execution.steps_are_done_in_order,
    check_execution.paused_work_is_not_done_again,
    check_execution.checkpoints_stand_for_work_that_was_done,
    check_execution.successes_are_complete,
    check_execution.reports_come_from_the_units_that_ran_the_attempt,
    check_execution.chosen_checkpoints_are_used,
    check_execution.units_have_the_labels_that_are_asked_for,
    check_execution.capacity_is_kept,
    check_queue.higher_priorities_go_first,
    check_reports.acknowledged_checkpoints_are_stored,
    check_reports.acknowledged_checkpoints_are_continued_from,
    check_reports.acknowledged_endings_are_in_the_history,
    check_reports.ends_are_as_the_unit_said,
    check_reports.checkpoints_that_are_stored_were_reached,
    check_reports.attempts_that_are_over_are_dropped,
    check_reports.leases_are_kept,
    check_reports.retries_are_counted_once,
    check_reports.what_may_be_retried_is,
    check_reports.what_failed_for_good_is_not_retried,
    check_reports.who_leaves_in_order_loses_nothing,
    check_reports.progress_is_not_older_than_the_status,
)


def violations(evidence: Evidence) -> list[str]:
    """All violations of all invariants, each with the invariant's name."""
    return [f"{check.__name__}: {found}" for check in CHECKS for found in check(evidence)]
