"""Variables that only resemble settings cause a warning."""

import pytest

from taskplane.server.config import unknown_variables


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("TASKPLANE_RETENTON_DAYS", "TASKPLANE_RETENTON_DAYS is no setting; is TASKPLANE_RETENTION_DAYS meant?"),
        ("taskplane_grpcs", "taskplane_grpcs is no setting; is TASKPLANE_GRPC meant?"),
        ("TASKPLANE_XYZZY", "TASKPLANE_XYZZY is no setting"),
        ("TASKPLANE_DB_HOST", "TASKPLANE_DB_HOST is no setting; is DB_HOST meant?"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is(name: str, warning: str) -> None:
    assert unknown_variables(["HOME", name]) == [warning]


@pytest.mark.parametrize(
    "name",
    [
        "TASKPLANE_RETENTION_DAYS",
        "taskplane_retention_days",
        "TASKPLANE_SERVER",
        "TASKPLANE_TEST_MYSQL_URL",
        # Set by Kubernetes for a Service called taskplane.
        "TASKPLANE_SERVICE_HOST",
        "TASKPLANE_SERVICE_PORT_GRPC",
        "TASKPLANE_PORT",
        "TASKPLANE_PORT_50051_TCP_ADDR",
        "DB_HOST",
        "PATH",
    ],
)
def test_what_is_a_setting_or_somebody_elses_is_not(name: str) -> None:
    assert unknown_variables([name]) == []
