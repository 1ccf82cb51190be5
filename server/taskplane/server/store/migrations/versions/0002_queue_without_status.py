"""The queue's index without the status: only queueing changes the index, not every transition."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("idx_queue", "tasks", ["queued", sa.text("priority DESC"), "queued_at", "id"])
    op.drop_index("idx_claim", "tasks")


def downgrade() -> None:
    op.create_index("idx_claim", "tasks", ["status", "queued", sa.text("priority DESC"), "queued_at", "id"])
    op.drop_index("idx_queue", "tasks")
