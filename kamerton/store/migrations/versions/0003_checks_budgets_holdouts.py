"""what the checks said, budgets, held-out examples and how a budget ended a run"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column('budget', sa.JSON(), nullable=False, server_default='{}'),
        sa.Column('holdout', sa.JSON(), nullable=True),
        sa.Column('held_out_count', sa.Integer(), nullable=False, server_default='0'),
        sa.Column('held_out_rows', sa.JSON(), nullable=False, server_default='[]'),
        sa.Column('report', sa.Text(), nullable=True),
        sa.Column('stop_reason', sa.String(), nullable=False, server_default=''),
    ):
        op.add_column('tuned_models', column)
    op.add_column('snapshots', sa.Column('held_out_loss', sa.Double(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError('Put the copy of the database back that was made before.')
