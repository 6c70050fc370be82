import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createAlembicRunner } from '../../../src/adapters/alembic/index.ts';
import type { MigrationBody } from '../../../src/rollback/model.ts';
import { writeHistory } from '../../support/alembic.ts';
import { folder, settingsFor } from '../../integration/alembic/scene.ts';

/** Bodies of a migration, judged by one process: each is a file of one history. */
const loseNothing: readonly string[] = [
  'op.create_table("t", sa.Column("id", sa.Integer(), sa.Identity(), primary_key=True), sa.Column("at", sa.DateTime(), server_default=sa.func.now()), sa.UniqueConstraint("id"))',
  'op.create_table("t", sa.Column("id", postgresql.UUID(as_uuid=True), sa.ForeignKey("u.id", ondelete="CASCADE")), schema="s")',
  'op.create_table("t", sa.Column("kind", sa.Enum("a", "b", name="kind")), sa.Column("x", postgresql.JSONB(astext_type=sa.Text())))',
  'op.create_table("t", Column("id", Integer()), Column("guid", GUID(36)))',
  'op.add_column("t", sa.Column("x", sa.String(length=20), nullable=True, server_default=sa.text("now()")))',
  'op.create_index(op.f("ix_t"), "t", ["x", sa.text("lower(y)")], unique=True, postgresql_where=sa.text("x > 0"))',
  'op.drop_index(op.f("ix_t"), table_name="t")',
  'op.create_foreign_key(None, "t", "u", ["a"], ["b"])',
  'op.create_unique_constraint("uq", "t", ["a"])',
  'op.create_check_constraint("ck", "t", sa.column("a") > 3)',
  'op.create_primary_key("pk", "t", ["a"])',
  'op.drop_constraint("uq", "t", type_="unique")',
  'op.rename_table("t", "u")',
  'op.create_table_comment("t", "words", existing_comment=None)',
  'op.alter_column("t", "a", nullable=False, existing_type=sa.INTEGER(), existing_nullable=True)',
  'op.alter_column("t", "a", new_column_name="b", server_default=None, comment="c", schema="s")',
  't = op.create_table("t", sa.Column("id", sa.Integer))\nop.bulk_insert(t, [{"id": 1}, {"id": 2}])',
  'op.bulk_insert(sa.table("t", sa.column("a", sa.String)), [{"a": x} for x in range(3)])',
  'with op.batch_alter_table("t", schema=None) as batch_op:\n    batch_op.add_column(sa.Column("x", sa.Integer()))\n    batch_op.create_index(batch_op.f("ix"), ["x"])\n    batch_op.alter_column("y", nullable=True)',
  'with op.get_context().autocommit_block():\n    op.create_index("ix", "t", ["a"], postgresql_concurrently=True)',
  'for name in ("a", "b"):\n    op.add_column(name, sa.Column("x", sa.Integer()))',
  'if True:\n    op.rename_table("a", "b")\nelse:\n    pass',
  '"""words"""\ntables = ["t%d" % n for n in range(3)]\nop.create_table(", ".join(tables).upper())',
  'print("going")\nop.create_table("t")',
  'from sqlalchemy.dialects.postgresql import CITEXT as text\nop.create_table("t", sa.Column("x", text()))',
  'm = sa.MetaData()\nsa.Table("t", m)',
  'op.add_column("t", sa.Column("at", sa.DateTime(), server_default=str(datetime.datetime(2020, 1, 1))))',
  'try:\n    op.rename_table("a", "b")\nfinally:\n    pass',
];

/** With what is said of each; the line is that of the body's own. */
const mayLose: readonly (readonly [body: string, ...risks: readonly (readonly [line: number, what: string])[]])[] = [
  ['op.drop_column("users", "email")', [1, 'drop_column("users", "email")']],
  ['op.rename_table("a", "b")\nop.drop_table("users")', [2, 'drop_table("users")']],
  ['op.execute("DELETE FROM users")', [1, 'op.execute("DELETE FROM users"): SQL that is not judged']],
  [
    'op.execute(\n    sa.text("""\n        SELECT 1\n    """)\n)',
    [1, 'op.execute( sa.text(""" SELECT 1 """) ): SQL that is not judged'],
  ],
  ['op.alter_column("t", "a", type_=sa.Integer())', [1, 'alter_column("t", "a", type_=sa.Integer())']],
  ['op.alter_column("t", "a", postgresql_using="a::int")', [1, 'alter_column("t", "a", postgresql_using="a::int")']],
  ['op.alter_column("t", "a", **changes)', [1, 'alter_column("t", "a", **changes)']],
  ['with op.batch_alter_table("t") as batch_op:\n    batch_op.drop_column("x")', [2, 'batch_op.drop_column("x")']],
  [
    'with op.batch_alter_table("t", recreate="always") as batch_op:\n    pass',
    [1, 'batch_alter_table("t", recreate="always")'],
  ],
  ['with open("x") as f:\n    pass', [1, 'with open("x"): not judged']],
  [
    'conn = op.get_bind()\nconn.execute(sa.text("SELECT 1"))',
    [1, 'get_bind()'],
    [2, 'conn.execute(sa.text("SELECT 1")): a call that is not judged'],
  ],
  [
    'kind = sa.Enum("a", name="kind")\nkind.drop(op.get_bind())',
    [2, 'get_bind()'],
    [2, 'kind.drop(op.get_bind()): a call that is not judged'],
  ],
  ['sa.Enum("a", name="kind").drop(bind)', [1, 'sa.Enum("a", name="kind").drop(bind): a call that is not judged']],
  ['for name in names():\n    op.rename_table(name, "x")', [1, 'names(): a call that is not judged']],
  ['helper()', [1, 'helper(): a call that is not judged']],
  ['from app import wipe', [1, 'from app import wipe: not judged']],
  ['import os', [1, 'import os: not judged']],
  ['op = other\nop.create_table("t")', [2, 'op.create_table("t"): a call that is not judged']],
  [
    'with op.batch_alter_table("t") as b:\n    b = thing\n    b.add_column(sa.Column("x", sa.Integer()))',
    [3, 'b.add_column(sa.Column("x", sa.Integer())): a call that is not judged'],
  ],
  ['op.create_table("t", *columns())', [1, 'columns(): a call that is not judged']],
  ['op.add_column("t", sa.Column("x", Wipe()))', [1, 'Wipe(): a call that is not judged']],
  ['op.create_table.__globals__["x"]()', [1, 'op.create_table.__globals__["x"](): a call that is not judged']],
  ['op.impl = thing', [1, 'op.impl = …: not judged']],
  ['globals()["op"] = thing', [1, 'globals()["op"] = …: not judged']],
  ['eval("op.drop_table(1)")', [1, 'eval("op.drop_table(1)"): a call that is not judged']],
  [
    'sa.create_engine("postgresql://").connect()',
    [1, 'sa.create_engine("postgresql://").connect(): a call that is not judged'],
  ],
  ['op.run_async(work)', [1, 'run_async(work)']],
  ['(lambda: op.drop_table("t"))()', [1, '(lambda: op.drop_table("t"))(): a call that is not judged']],
  ['def inner():\n    op.drop_table("t")\ninner()', [3, 'inner(): a call that is not judged']],
  ['@helper\ndef inner():\n    pass', [1, 'a decorator that is not judged']],
  ['class Inner:\n    op.drop_table("t")', [1, 'class Inner: op.drop_table("t"): not judged']],
  ['[op.drop_table(name) for name in ("a", "b")]', [1, 'drop_table(name)']],
  ['x = op.drop_table("t") if True else None', [1, 'drop_table("t")']],
  ['assert op.drop_table("t")', [1, 'drop_table("t")']],
  ['while op.drop_table("t"):\n    pass', [1, 'drop_table("t")']],
  ['try:\n    pass\nexcept helper():\n    pass', [3, 'helper(): a call that is not judged']],
  ['print(sorted([1], key=helper))', [1, 'sorted([1], key=helper): a call that is not judged']],
  ['[1].sort(key=helper)', [1, '[1].sort(key=helper): a call that is not judged']],
  ['"".__class__.__subclasses__()', [1, '"".__class__.__subclasses__(): a call that is not judged']],
  ['from sqlalchemy import nothing', [1, 'from sqlalchemy import nothing: not judged']],
  ['from sqlalchemy import text\ntext = op.drop_table\ntext("t")', [3, 'text("t"): a call that is not judged']],
  ['global op\nop.create_table("t")', [1, 'global op: not judged']],
  ['rename = op.drop_table\nrename("t")', [2, 'rename("t"): a call that is not judged']],
  ['map(op.drop_table, ["t"])', [1, 'map(op.drop_table, ["t"]): a call that is not judged']],
  ['if True:\n    return op.drop_column("a", "b")', [2, 'drop_column("a", "b")']],
  ['f"{op.drop_table(1)}"', [1, 'drop_table(1)']],
  ['x = {**op.drop_table("t")}', [1, 'drop_table("t")']],
  ['x = [1][op.drop_table("t"):]', [1, 'drop_table("t")']],
  ['x[op.drop_table("t")] = 1', [1, 'drop_table("t")']],
  ['def inner(x=op.drop_table("t")):\n    pass', [1, 'drop_table("t")']],
  ['x = lambda y=op.drop_table("t"): 1', [1, 'drop_table("t")']],
];

const shapes: readonly (readonly [text: string, shape: MigrationBody['shape'], risks: readonly string[]])[] = [
  ['', 'missing', []],
  ['def downgrade():\n    pass\n', 'pass', []],
  ['def downgrade():\n    """Nothing."""\n', 'pass', []],
  ['def downgrade():\n    ...\n    return None\n', 'pass', []],
  ['def downgrade():\n    """No."""\n    raise NotImplementedError(op.drop_table("t"))\n', 'raises', []],
  ['def downgrade():\n    op.rename_table("a", "b")\n    raise ValueError()\n', 'code', []],
  ['downgrade = lambda: op.drop_table("t")\n', 'code', ['downgrade() is not defined in plain sight']],
  [
    'def other():\n    op.drop_table("t")\ndef downgrade():\n    pass\ndowngrade = other\n',
    'code',
    ['downgrade() is not defined in plain sight'],
  ],
  [
    'def wrap(f):\n    return lambda: op.drop_table("t")\n@wrap\ndef downgrade():\n    pass\n',
    'code',
    ['downgrade() is not defined in plain sight'],
  ],
  [
    'if True:\n    def downgrade():\n        op.drop_table("t")\n',
    'code',
    ['downgrade() is not defined in plain sight'],
  ],
  ['def downgrade():\n    pass\ndef downgrade():\n    op.drop_table("t")\n', 'code', ['drop_table("t")']],
  ['def downgrade(engine_name=""):\n    op.drop_table("t")\n', 'code', ['drop_table("t")']],
  [
    'class Fake:\n    def create_table(self, name): pass\nop = Fake()\ndef downgrade():\n    op.create_table("t")\n',
    'code',
    ['op.create_table("t"): a call that is not judged'],
  ],
  [
    'from alembic.op import drop_table\ndef downgrade():\n    drop_table("t")\n',
    'code',
    ['drop_table("t"): a call that is not judged'],
  ],
  ['import alembic\ndef downgrade():\n    alembic.op.drop_table("t")\n', 'code', ['alembic.op.drop_table("t")']],
  [
    'def print(x): op.drop_table("t")\ndef downgrade():\n    print("t")\n',
    'code',
    ['print("t"): a call that is not judged'],
  ],
];

const head = `import datetime
from alembic import op
import sqlalchemy as sa
from sqlalchemy import Column, Integer
from sqlalchemy.dialects import postgresql
class GUID(sa.types.TypeDecorator):
    impl = sa.String
class Wipe:
    pass
`;
const bodyStart = head.split('\n').length + 3;

const source = (id: string, text: string): string => `${head}revision = "${id}"\ndown_revision = None\n${text}`;
const upgradeOf = (body: string): string =>
  `def upgrade():\n${body.replace(/^/gm, '    ')}\ndef downgrade():\n    pass\n`;

let judged: ReadonlyMap<string, { readonly upgrade: MigrationBody; readonly downgrade: MigrationBody }>;

beforeAll(async () => {
  const project = await writeHistory(await folder(), { revisions: [] });
  const files: readonly (readonly [string, string])[] = [
    ...loseNothing.map((body, index) => [`safe${index}`, upgradeOf(body)] as const),
    ...mayLose.map(([body], index) => [`risky${index}`, upgradeOf(body)] as const),
    ...shapes.map(([text], index) => [`shape${index}`, `def upgrade():\n    pass\n${text}`] as const),
  ];
  for (const [id, text] of files) await writeFile(join(project.versionsDir, `${id}.py`), source(id, text));
  await using session = await createAlembicRunner().start(await settingsFor(project, 'postgresql://a@127.0.0.1/b'));
  judged = new Map((await session.graph()).revisions.map((revision) => [revision.id, revision]));
});

describe('a migration’s source, judged without running it', () => {
  test.each(loseNothing.map((body, index) => [body, index] as const))('loses nothing: %s', (_, index) => {
    expect(judged.get(`safe${index}`)?.upgrade).toEqual({ shape: 'code', risks: [] });
  });

  test.each(mayLose.map(([body, ...risks], index) => [body, risks, index] as const))(
    'may lose: %s',
    (_, risks, index) => {
      const id = `risky${index}`;
      expect(judged.get(id)?.upgrade).toEqual({
        shape: 'code',
        risks: risks.map(([line, what]) => ({
          revision: id,
          file: `migrations/versions/${id}.py`,
          line: line + bodyStart - 1,
          what,
        })),
      });
    },
  );

  test.each(shapes.map(([text, shape, risks], index) => [text, shape, risks, index] as const))(
    'the shape of %j is %s',
    (_, shape, risks, index) => {
      const body = judged.get(`shape${index}`)?.downgrade;
      expect(body?.shape).toBe(shape);
      expect(body?.risks.map(({ what }) => what)).toEqual(risks);
    },
  );
});
