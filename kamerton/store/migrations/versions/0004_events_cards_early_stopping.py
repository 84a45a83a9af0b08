"""events, report cards, early stopping, which step was kept, and more of each step"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column('early_stopping', sa.JSON(), nullable=False, server_default='{}'),
        sa.Column('kept_step', sa.Integer(), nullable=True),
        sa.Column('verdict', sa.String(), nullable=False, server_default=''),
        sa.Column('failure_reason', sa.String(length=64), nullable=False, server_default=''),
        sa.Column('failure_step', sa.Integer(), nullable=True),
        sa.Column('failure_row', sa.Integer(), nullable=True),
        sa.Column('reasons', sa.JSON(), nullable=False, server_default='{}'),
    ):
        op.add_column('tuned_models', column)
    # Runs from before are carried on as they were promised.
    op.execute("""UPDATE tuned_models SET early_stopping = '{"mode": "off"}'""")
    for name in (
        'start_loss', 'smoothed_loss', 'learning_rate', 'gradient_norm', 'tokens_per_second'
    ):
        op.add_column('snapshots', sa.Column(name, sa.Double(), nullable=True))
    op.add_column('snapshots', sa.Column('trained_tokens', sa.Integer(), nullable=True))
    op.add_column('snapshots', sa.Column('memory_bytes', sa.BigInteger(), nullable=True))
    for column in (
        sa.Column('keep', sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column('micro_batch', sa.Integer(), nullable=True),
    ):
        op.add_column('operations', column)
    op.create_table(
        'events',
        sa.Column('uid', sa.String(length=32), nullable=False),
        sa.Column('number', sa.Integer(), nullable=False),
        sa.Column('time', sa.DateTime(), nullable=False),
        sa.Column('kind', sa.String(length=32), nullable=False),
        sa.Column('message', sa.Text(), nullable=False),
        sa.Column('step', sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ['uid'], ['tuned_models.uid'], name=op.f('fk_events_uid'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('uid', 'number', name=op.f('pk_events')),
    )
    op.create_table(
        'cards',
        sa.Column('uid', sa.String(length=32), nullable=False),
        sa.Column('card', sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ['uid'], ['tuned_models.uid'], name=op.f('fk_cards_uid'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('uid', name=op.f('pk_cards')),
    )


def downgrade() -> None:
    raise NotImplementedError('Put the copy of the database back that was made before.')
