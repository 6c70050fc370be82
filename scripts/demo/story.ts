import { deepStrictEqual } from 'node:assert/strict';
import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { databaseNames, readFacts } from './database.ts';
import type { Facts } from './database.ts';
import { DemoFailure } from './screen.ts';
import type { Command, Screen } from './screen.ts';
import { exitCodes } from '../../src/cli/exit-codes.ts';
import { DATABASE, TARGET } from './stage.ts';
import type { Stage } from './stage.ts';
import { cacheDirectory } from '../lib/cache.ts';

/** Revisions of the sample application (examples/unicorn/README.md). */
export const HEAD = '4f1c2d9ab0e7';
const BEFORE_PRIORITIES = '17ce94a8b5d0';
const BEFORE_HASHING = 'a2597c0e4d6f';

const TICKETS = 250;

/** Plays it all, screen by screen. Throws where anything is not as the story tells. */
export async function tell(screen: Screen, stage: Stage): Promise<Ending> {
  const found = await theDatabaseAsFound(screen, stage);
  await forward(screen, stage);
  await oneStepBack(screen, stage);
  const aside = await pastThePointOfNoReturn(screen, stage, found);
  return afterwards(screen, stage, aside);
}

/** Where people find what is left of it. */
export interface Ending {
  /** Path of the last operation's report. */
  readonly report: string;
}

async function theDatabaseAsFound(screen: Screen, stage: Stage): Promise<Facts> {
  screen.heading('1  A database, as its team runs it');
  screen.say(
    'examples/unicorn is a small service with an alembic history. So far its team has run alembic by hand,',
    'and it stands at the fifth of eight migrations.',
  );
  await screen.run(stage.alembic('upgrade', BEFORE_HASHING));
  await screen.run(stage.python('unicorn.seed'));
  return readFacts(stage.adminUrl);
}

async function forward(screen: Screen, stage: Stage): Promise<void> {
  screen.heading('2  Forward: the newest revision is declared');
  screen.say(`From now on the revision is declared, in ${stage.targetFile}:`);
  screen.quote(await stage.readTarget());
  screen.say(
    '',
    'Before it touches the database it takes a backup, and tries the change on a copy of it. One of these migrations hashes',
    'client addresses, so the addresses would be gone: it stops there, and asks.',
  );
  await screen.run(stage.migrationTarget('apply', '-f', stage.targetFile, '--yes'), exitCodes.approvalNeeded);
  await expectRevision(stage, BEFORE_HASHING);
  screen.say('', 'Somebody who may approves that very plan, once, and it goes on:');
  await approve(screen, stage);
  await expectRevision(stage, HEAD);
}

async function oneStepBack(screen: Screen, stage: Stage): Promise<void> {
  screen.heading('3  Back: the revision before is declared');
  screen.say(
    'A day of work with the new version, and then its code has to be rolled back, and the database with it. What would that',
    'destroy? Nobody has to guess:',
  );
  await screen.run(stage.python('unicorn.work', String(TICKETS)));
  await screen.run(stage.migrationTarget('plan', TARGET, '--revision', '-1', '--rehearse'), exitCodes.approvalNeeded);
  screen.say('', 'That only read the database. Now in earnest; it asks for an approval, and gets it:');
  const before = await readFacts(stage.adminUrl);
  await screen.quietly(stage.migrationTarget('apply', TARGET, '--revision', '-1', '--yes'), exitCodes.approvalNeeded);
  expectSame('everything, while it waits', before, await readFacts(stage.adminUrl));
  await approve(screen, stage);
  const after = await expectRevision(stage, BEFORE_PRIORITIES);
  expectSame('the numbers of rows', before.rows, after.rows);
  expectSame(
    'the schema, but for what belongs to priorities',
    before.schema.filter((fact) => !fact.includes('priority')),
    after.schema,
  );
  screen.say(
    '',
    'What people had entered in the dropped column went with it, as the plan had said; the backup of just before has it.',
    'What is declared is never "-1", but the revision that it stood for:',
  );
  await screen.run(stage.grepRevision());
}

/** Returns the name of the database that was kept aside. */
async function pastThePointOfNoReturn(screen: Screen, stage: Stage, found: Facts): Promise<string> {
  screen.heading('4  Back to where no downgrade leads');
  screen.say('Forward again (adding a column loses nothing, so nobody is asked), and another day of work:');
  await screen.run(stage.migrationTarget('apply', TARGET, '--revision', 'head', '--yes'));
  await expectRevision(stage, HEAD);
  await screen.run(stage.python('unicorn.work', String(TICKETS)));
  screen.say(
    '',
    `Then back to before client addresses were hashed. No hash leads back: that migration's downgrade() raises. It does so`,
    'on the copy, so the database never sees it; what is left is the backup of then, and what was written since is counted.',
  );
  const lost = await readFacts(stage.adminUrl);
  await screen.run(
    stage.migrationTarget('apply', TARGET, '--revision', BEFORE_HASHING, '--yes'),
    exitCodes.approvalNeeded,
  );
  expectSame('everything, while it waits', lost, await readFacts(stage.adminUrl));
  await approve(screen, stage);

  const now = await expectRevision(stage, BEFORE_HASHING);
  expectSame('the rows', found.content, now.content);
  expectSame('the schema', found.schema, now.schema);
  const aside = (await databaseNames(stage.server.superuserUrl)).filter((name) => name !== DATABASE);
  const [name] = aside;
  if (name === undefined || aside.length > 1) {
    throw new DemoFailure(
      `one database should have been kept aside, and these are there: ${aside.join(', ') || 'none'}`,
    );
  }
  expectSame('the content of the database kept aside', lost, await readFacts(stage.server.url(name)));
  const lostRows = Object.entries(lost.rows).map(([table, count]) => [table, count - (now.rows[table] ?? 0)] as const);
  screen.say(
    '',
    'The demo has read both databases by itself: every row and the whole schema are as they were in screen 1, and',
    `what was written since is in ${name}, and only there:`,
    `  ${lostRows.flatMap(([table, count]) => (count === 0 ? [] : [`${count} rows of ${table}`])).join(', ')}; the columns of the newer schema.`,
  );
  return name;
}

/** What the status asks for, approved, and carried out. */
async function approve(screen: Screen, stage: Stage): Promise<void> {
  const target = (await readJson(screen, stage.migrationTarget('status', TARGET))) as StatusObject;
  const { digest = null, loss } = target.status.plan ?? {};
  if (digest === null) throw new DemoFailure('the status names no plan that waits for an approval');
  const bound = loss?.rows == null ? [] : ['--max-row-loss', String(loss.rows)];
  await screen.run(stage.migrationTarget('approve', TARGET, '--plan', digest, ...bound));
  await screen.run(stage.migrationTarget('reconcile', TARGET, '--yes'));
}

async function afterwards(screen: Screen, stage: Stage, aside: string): Promise<Ending> {
  screen.heading('5  Afterwards');
  screen.say('Where the database is, and what it could be taken back to:');
  const status = stage.migrationTarget('status', TARGET);
  const backups = stage.migrationTarget('backups', TARGET);
  await screen.run(status);
  await screen.run(backups);

  const target = (await readJson(screen, status)) as StatusObject;
  const ready = target.status.conditions.find(({ type }) => type === 'Ready');
  expectSame(
    'the condition Ready',
    { status: 'True', reason: 'RestoredFromBackup' },
    { status: ready?.status, reason: ready?.reason },
  );
  expectSame(
    'what the status says is kept aside',
    [aside],
    target.status.keptAside.map(({ name }) => name),
  );
  const catalogue = (await readJson(screen, backups)) as BackupsObject;
  // One for each time that something was tried: four changes, three of which had to wait first, and one look.
  expectSame(
    'the number of verified backups',
    8,
    catalogue.backups.filter(({ verifiedAt }) => verifiedAt !== null).length,
  );
  const report = target.status.history[0]?.report ?? null;
  if (report === null) throw new DemoFailure('the status names no report of the last operation');
  await access(report);
  return { report };
}

/** The last words: where things are, and what to try next. `stopCommand`: null where the server has been stopped. */
export function finish(
  screen: Screen,
  stage: Stage,
  ending: Ending,
  stopCommand: string | null,
  seconds: number,
): void {
  screen.say(
    '',
    `The report of the last operation   ${stage.asTyped(ending.report)}`,
    `The backups, with their manifests  ${join(stage.dir, 'backups')}`,
    '',
    `That was the demo, in ${seconds} s. ${stopCommand === null ? 'Its server is stopped now; to look around in it:' : 'Its server is still running. To try next, in this folder:'}`,
  );
  if (stopCommand === null) screen.say('  npm run demo -- --keep', 'To try then, in this folder:');
  screen.say(
    `  ${stage.exportTools}`,
    ...[
      stage.migrationTarget('history', TARGET),
      stage.migrationTarget('plan', TARGET, '--revision', '+1', '--sql'),
      stage.migrationTarget('doctor', TARGET),
    ].map(({ typed }) => `  ${typed}`),
  );
  if (stopCommand !== null)
    screen.say(
      '',
      `To stop the server, and remove all that the demo made (what it installed stays in ${cacheDirectory()} for the next time):`,
      `  ${stopCommand}; sleep 1; rm -r ${stage.dir}* ${dirname(stage.server.dataDir)}`,
    );
}

/** What the demo looks at of `status NAME -o json`. */
interface StatusObject {
  readonly status: {
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
    readonly keptAside: readonly { readonly name: string }[];
    readonly plan: { readonly digest: string | null; readonly loss: { readonly rows: number | null } | null } | null;
    readonly history: readonly { readonly report: string | null }[];
  };
}

/** What the demo looks at of `backups NAME -o json`. */
interface BackupsObject {
  readonly backups: readonly { readonly verifiedAt: string | null }[];
}

const readJson = async (screen: Screen, command: Command): Promise<unknown> =>
  JSON.parse(await screen.read({ ...command, args: [...command.args, '-o', 'json'] }));

async function expectRevision(stage: Stage, revision: string): Promise<Facts> {
  const facts = await readFacts(stage.adminUrl);
  if (facts.revision !== revision) {
    throw new DemoFailure(`the database should be at ${revision}, and is at ${facts.revision || 'base'}`);
  }
  return facts;
}

function expectSame(what: string, expected: unknown, actual: unknown): void {
  try {
    deepStrictEqual(actual, expected);
  } catch (cause) {
    const difference = cause instanceof Error ? cause.message : String(cause);
    throw new DemoFailure(`${what} should be the same, and differ:\n${difference}`, { cause });
  }
}
