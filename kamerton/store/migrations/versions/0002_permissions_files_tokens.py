"""permissions instead of one owner, files and uploads, bearer tokens beside keys"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('permissions',
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('id', sa.String(length=18), nullable=False),
    sa.Column('grantee_type', sa.String(length=8), nullable=False),
    sa.Column('email', sa.String(), nullable=False),
    sa.Column('role', sa.String(length=8), nullable=False),
    sa.ForeignKeyConstraint(['uid'], ['tuned_models.uid'], name=op.f('fk_permissions_uid'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('uid', 'id', name=op.f('pk_permissions')),
    sa.UniqueConstraint('uid', 'grantee_type', 'email', name=op.f('uq_permissions_uid'))
    )
    op.create_index(op.f('ix_permissions_email'), 'permissions', ['email'])
    _owners_as_permissions()
    # Not in a batch: that would drop the table, and with it by cascade what refers to it.
    op.drop_index(op.f('ix_tuned_models_owner'), 'tuned_models')
    op.drop_column('tuned_models', 'owner')

    op.create_table('files',
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('display_name', sa.String(), nullable=False),
    sa.Column('mime_type', sa.String(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.Column('update_time', sa.DateTime(), nullable=False),
    sa.Column('expire_time', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('uid', name=op.f('pk_files')),
    sa.UniqueConstraint('id', name=op.f('uq_files_id'))
    )
    for column in ('owner', 'create_time', 'expire_time'):
        op.create_index(op.f(f'ix_files_{column}'), 'files', [column])

    op.create_table('uploads',
    sa.Column('uid', sa.String(length=32), nullable=False),
    sa.Column('secret_hash', sa.String(length=64), nullable=True),
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('file_id', sa.String(length=40), nullable=False),
    sa.Column('display_name', sa.String(), nullable=False),
    sa.Column('mime_type', sa.String(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=True),
    sa.Column('reserved_bytes', sa.BigInteger(), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.Column('expire_time', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('uid', name=op.f('pk_uploads')),
    sa.UniqueConstraint('secret_hash', name=op.f('uq_uploads_secret_hash'))
    )
    for column in ('owner', 'expire_time'):
        op.create_index(op.f(f'ix_uploads_{column}'), 'uploads', [column])

    op.create_table('credentials',
    sa.Column('id', sa.String(length=16), nullable=False),
    sa.Column('kind', sa.String(length=8), nullable=False),
    sa.Column('secret_hash', sa.String(length=64), nullable=False),
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('scopes', sa.JSON(), nullable=False),
    sa.Column('create_time', sa.DateTime(), nullable=False),
    sa.Column('expire_time', sa.DateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_credentials'))
    )
    op.execute(
        "INSERT INTO credentials (id, kind, secret_hash, owner, scopes, create_time) "
        "SELECT id, 'key', secret_hash, lower(owner), scopes, create_time FROM keys"
    )
    op.drop_table('keys')


def _owners_as_permissions() -> None:
    connection = op.get_bind()
    owned = connection.execute(sa.text('SELECT uid, owner FROM tuned_models')).all()
    if owned:
        connection.execute(
            sa.text(
                "INSERT INTO permissions (uid, id, grantee_type, email, role) "
                "VALUES (:uid, :id, 'USER', :email, 'OWNER')"
            ),
            [
                {'uid': uid, 'id': str(10**17 + secrets.randbelow(9 * 10**17)), 'email': owner.lower()}
                for uid, owner in owned
            ],
        )


def downgrade() -> None:
    raise NotImplementedError('Put the copy of the database back that was made before.')
