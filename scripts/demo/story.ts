import { deepStrictEqual } from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { databaseNames, readFacts } from './database.ts';
import type { Facts } from './database.ts';
import { DemoFailure } from './screen.ts';
import type { Screen } from './screen.ts';
import { TARGET } from './stage.ts';
import type { Stage } from './stage.ts';

/** Revisions of the sample application (examples/unicorn/README.md). */
export const HEAD = '4f1c2d9ab0e7';
const BEFORE_PRIORITIES = '17ce94a8b5d0';
const BEFORE_HASHING = 'a2597c0e4d6f';

const TICKETS = 250;

/** Plays it all, screen by screen. Throws where anything is not as the story tells. */
export async function tell(screen: Screen, stage: Stage): Promise<void> {
  const found = await theDatabaseAsFound(screen, stage);
  await forward(screen, stage);
  await oneStepBack(screen, stage);
  await pastThePointOfNoReturn(screen, stage, found);
  await whatIsLeft(screen, stage);
}

async function theDatabaseAsFound(screen: Screen, stage: Stage): Promise<Facts> {
  screen.heading('1  A database, as its team runs it');
  screen.say(
    'examples/unicorn is a small service with an alembic history. So far its team has run alembic by hand,',
    'up to the fifth of eight migrations.',
  );
  await screen.run(stage.alembic('upgrade', BEFORE_HASHING));
  await screen.run(stage.python('unicorn.seed'));
  return readFacts(stage.adminUrl);
}

async function forward(screen: Screen, stage: Stage): Promise<void> {
  screen.heading('2  Forward: the newest revision is declared');
  screen.say(`From now on the revision is declared, in ${stage.targetFile}:`);
  screen.quote(await stage.readTarget());
  await screen.run(stage.migrationTarget('plan', '-f', stage.targetFile));
  screen.say(
    '',
    'Planning touched nothing. Applying takes a backup first, restores it once to see that it is whole, then upgrades.',
  );
  await screen.run(stage.migrationTarget('apply', '-f', stage.targetFile, '--yes'));
  await expectRevision(stage, HEAD);
}

async function oneStepBack(screen: Screen, stage: Stage): Promise<void> {
  screen.heading('3  Back: an older revision is declared');
  screen.say('A day of work on the new version:');
  await screen.run(stage.python('unicorn.work', String(TICKETS)));
  await declare(screen, stage, 'But its code has to be rolled back, and the database with it.', BEFORE_PRIORITIES);
  await screen.run(stage.migrationTarget('plan', '-f', stage.targetFile));
  const before = await readFacts(stage.adminUrl);
  await screen.run(stage.migrationTarget('apply', '-f', stage.targetFile, '--yes'));
  const after = await expectRevision(stage, BEFORE_PRIORITIES);
  expectSame('the numbers of rows', before.rows, after.rows);
}

async function pastThePointOfNoReturn(screen: Screen, stage: Stage, found: Facts): Promise<void> {
  screen.heading('4  Back to where no downgrade leads');
  await declare(screen, stage, 'Forward again, and another day of work:', HEAD);
  await screen.run(stage.migrationTarget('apply', '-f', stage.targetFile, '--yes'));
  await screen.run(stage.python('unicorn.work', String(TICKETS)));
  await declare(
    screen,
    stage,
    "Then back to before client addresses were hashed. That migration's downgrade() raises: no hash leads back.",
    BEFORE_HASHING,
  );
  await screen.run(stage.migrationTarget('plan', '-f', stage.targetFile));
  const lost = await readFacts(stage.adminUrl);
  await screen.run(stage.migrationTarget('apply', '-f', stage.targetFile, '--yes'));

  const now = await expectRevision(stage, BEFORE_HASHING);
  expectSame('the rows', found.content, now.content);
  expectSame('the schema', found.schema, now.schema);
  const aside = (await databaseNames(stage.server.superuserUrl)).filter((name) => name !== 'unicorn_db');
  if (aside.length !== 1)
    throw new DemoFailure(
      `one database should have been kept aside, and these are there: ${aside.join(', ') || 'none'}`,
    );
  const [name = ''] = aside;
  expectSame('the content of the database kept aside', lost, await readFacts(stage.server.url(name)));
  screen.say(
    '',
    'Read back by the demo itself: every row and the schema are as they were in screen 1, and everything',
    `written since is still in ${name}.`,
  );
}

async function whatIsLeft(screen: Screen, stage: Stage): Promise<void> {
  screen.heading('5  Afterwards');
  await screen.run(stage.migrationTarget('status', TARGET));
  await screen.run(stage.migrationTarget('backups', TARGET));
}

/** The last words: where things are, and what to try next. `stopCommand`: null where the server has been stopped. */
export async function finish(
  screen: Screen,
  stage: Stage,
  home: string,
  stopCommand: string | null,
  seconds: number,
): Promise<void> {
  screen.say(
    '',
    `Report of the last operation   ${join(stage.dir, await newestReport(home))}`,
    `Backups, with manifests        ${join(stage.dir, 'backups')}`,
    `That was the demo, in ${seconds} s.`,
    '',
  );
  const next = [
    stage.migrationTarget('history', TARGET),
    stage.migrationTarget('doctor', TARGET),
    stage.migrationTarget('backup', TARGET),
  ].map(({ typed }) => `  ${typed}`);
  if (stopCommand === null) {
    screen.say('Its server is stopped now. To look around in it: npm run demo -- --keep', 'Then try:', ...next);
  } else {
    screen.say(
      'Its server is still running. Try next:',
      ...next,
      '',
      'To stop it and remove what it made:',
      `  ${stopCommand}; rm -r ${stage.dir}`,
    );
  }
}

async function newestReport(home: string): Promise<string> {
  const reports = (await readdir(join(home, 'state'), { recursive: true }))
    .filter((path) => path.endsWith('.md'))
    .sort();
  const newest = reports.at(-1);
  if (newest === undefined) throw new DemoFailure(`${home}/state holds no report`);
  return join('state', newest);
}

async function declare(screen: Screen, stage: Stage, why: string, revision: string): Promise<void> {
  await stage.declare(revision);
  screen.say('', why, `In ${stage.targetFile}:`);
  screen.quote(`spec:\n  revision: "${revision}"`);
}

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
