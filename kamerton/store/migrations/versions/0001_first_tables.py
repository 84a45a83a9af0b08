"""first tables"""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('keys',
    sa.Column('id', sa.String(length=16), nullable=False),
    sa.Column('secret_hash', sa.String(length=64), nullable=False),
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('scopes', sa.JSON(), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_keys'))
    )
    op.create_table('tuned_models',
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('base_model', sa.String(), nullable=False),
    sa.Column('asked_base_model', sa.String(), nullable=False),
    sa.Column('source', sa.String(), nullable=True),
    sa.Column('display_name', sa.String(), nullable=False),
    sa.Column('description', sa.String(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('hyperparameters', sa.JSON(), nullable=False),
    sa.Column('example_count', sa.Integer(), nullable=False),
    sa.Column('total_steps', sa.Integer(), nullable=False),
    sa.Column('truncated_example_count', sa.Integer(), nullable=False),
    sa.Column('temperature', sa.Double(), nullable=False),
    sa.Column('top_p', sa.Double(), nullable=False),
    sa.Column('top_k', sa.Integer(), nullable=False),
    sa.Column('reader_project_numbers', sa.JSON(), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.Column('update_time', sa.DateTime(), nullable=False),
    sa.Column('start_time', sa.DateTime(), nullable=True),
    sa.Column('complete_time', sa.DateTime(), nullable=True),
    sa.Column('failure_kind', sa.String(), nullable=True),
    sa.Column('failure_message', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('uid', name=op.f('pk_tuned_models')),
    sa.UniqueConstraint('id', name=op.f('uq_tuned_models_id'))
    )
    with op.batch_alter_table('tuned_models', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_tuned_models_create_time'), ['create_time'], unique=False)
        batch_op.create_index(batch_op.f('ix_tuned_models_owner'), ['owner'], unique=False)

    op.create_table('operations',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.Column('done', sa.Boolean(), nullable=False),
    sa.Column('cancelled', sa.Boolean(), nullable=False),
    sa.Column('worker', sa.String(length=32), nullable=True),
    sa.Column('lease_until', sa.DateTime(), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('attempts_without_progress', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['uid'], ['tuned_models.uid'], name=op.f('fk_operations_uid'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_operations'))
    )
    with op.batch_alter_table('operations', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_operations_create_time'), ['create_time'], unique=False)
        batch_op.create_index(batch_op.f('ix_operations_done'), ['done'], unique=False)
        batch_op.create_index(batch_op.f('ix_operations_uid'), ['uid'], unique=False)

    op.create_table('snapshots',
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('step', sa.Integer(), nullable=False),
    sa.Column('epoch', sa.Integer(), nullable=False),
    sa.Column('mean_loss', sa.Double(), nullable=False),
    sa.Column('compute_time', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['uid'], ['tuned_models.uid'], name=op.f('fk_snapshots_uid'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('uid', 'step', name=op.f('pk_snapshots'))
    )


def downgrade() -> None:
    op.drop_table('snapshots')
    with op.batch_alter_table('operations', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_operations_uid'))
        batch_op.drop_index(batch_op.f('ix_operations_done'))
        batch_op.drop_index(batch_op.f('ix_operations_create_time'))

    op.drop_table('operations')
    with op.batch_alter_table('tuned_models', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_tuned_models_owner'))
        batch_op.drop_index(batch_op.f('ix_tuned_models_create_time'))

    op.drop_table('tuned_models')
    op.drop_table('keys')
