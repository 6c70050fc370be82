import { Failure, stalled } from '../../rollback/errors.ts';
import type { OwnDatabase } from '../../rollback/model.ts';
import type { SwapState } from '../../rollback/ports.ts';
import type { Context } from './context.ts';
import { quoteName } from './identifiers.ts';
import { findDatabases } from './manage.ts';
import type { Session, Statements } from './session.ts';
import { endSessions } from './sessions.ts';

/** For how long sessions are ended that come back or do not go, before the swap is given up. */
const endSessionsSeconds = 10;

export async function readSwapState(
  maintenance: Statements,
  live: OwnDatabase,
  into: OwnDatabase,
  aside: OwnDatabase,
): Promise<SwapState> {
  const found = await findDatabases(maintenance, [live, into, aside]);
  const named = (name: string) => found.find((row) => row.name === name);
  const atLive = named(live.name);
  const describe = (): SwapState => ({
    kind: 'unknown',
    found:
      found.map(({ name, oid, open }) => `"${name}" has oid ${oid}${open ? '' : ' (closed)'}`).join(', ') ||
      'none of the databases exists',
  });
  if (atLive?.oid === live.oid) {
    // Its place is taken: the renames could not go through.
    if (named(aside.name)) return describe();
    return { kind: 'notSwapped', liveClosed: !atLive.open, intoExists: named(into.name)?.oid === into.oid };
  }
  if (atLive?.oid === into.oid) {
    const old = found.find(({ oid }) => oid === live.oid);
    // Gone: dropped when its time was over.
    if (old === undefined || old.name === aside.name) return { kind: 'swapped' };
  }
  return describe();
}

/**
 * Gives `into` the live name, and the live database the name `aside`. Nobody can connect from the closing of the live
 * database until the renames are committed; whatever fails in between opens it again.
 *
 * The old database stays open to its owner and to superusers, so that it can be looked at and dumped; PUBLIC and
 * whoever else was granted it can't connect, so that nothing goes on writing there unnoticed.
 */
export async function swap(
  context: Context,
  live: OwnDatabase,
  into: OwnDatabase,
  aside: OwnDatabase,
): Promise<{ readonly closedMs: number }> {
  const maintenance = await context.onMaintenance();
  const state = await readSwapState(maintenance, live, into, aside);
  if (state.kind === 'swapped') return { closedMs: 0 };
  if (state.kind === 'unknown' || !state.intoExists) {
    const found = state.kind === 'unknown' ? state.found : `there is no "${into.name}" with oid ${into.oid}`;
    throw stalled(
      'RecoveryFailed',
      `"${live.name}" was not swapped, as things are not where they should be: ${found}. Put the names right by hand (ALTER DATABASE … RENAME TO …), then: migration-target reconcile NAME`,
    );
  }
  await refuseBlockers(maintenance, live);
  await context.leaveLive();

  const from = performance.now();
  try {
    await maintenance.script(
      'Closing the live database',
      `ALTER DATABASE ${quoteName(live.name)} ALLOW_CONNECTIONS false`,
    );
    await emptyBoth(context, maintenance, live, into);
    await rename(maintenance, live, into, aside);
    return { closedMs: performance.now() - from };
  } catch (error) {
    await openAgain(context, live, error);
    throw error;
  }
}

/** Found in `check` too; looked at again here, since they would be lost with the database they are in. */
async function refuseBlockers(maintenance: Statements, live: OwnDatabase): Promise<void> {
  const blockers = await maintenance.rows<{ what: string }>(
    'Looking for what blocks a swap',
    `SELECT format('prepared transaction %s (ROLLBACK PREPARED)', quote_literal(p.gid)) AS what FROM pg_prepared_xacts p JOIN pg_database d ON d.datname = p.database WHERE d.oid = $1::text::oid
     UNION ALL SELECT format('replication slot %s (pg_drop_replication_slot)', slot_name) FROM pg_replication_slots WHERE datoid = $1::text::oid
     UNION ALL SELECT format('subscription %I (DROP SUBSCRIPTION)', subname) FROM pg_subscription WHERE subdbid = $1::text::oid`,
    [live.oid],
  );
  if (blockers.length > 0) {
    throw stalled(
      'SwapBlocked',
      `"${live.name}" can't be swapped because of ${blockers.map(({ what }) => what).join(', ')}. End each, then: migration-target reconcile NAME`,
    );
  }
}

/** Neither database may have a session while it is renamed; new ones can't come to the closed one, and nobody knows the other. */
async function emptyBoth(context: Context, maintenance: Session, live: OwnDatabase, into: OwnDatabase): Promise<void> {
  await using application =
    context.worker === context.application
      ? null
      : await context.connect(context.settings.maintenanceDatabase, context.application).catch(() => null);
  await endSessions(
    application === null ? [maintenance] : [maintenance, application],
    // Of sessions whose role may not be looked into the type is NULL. Autovacuum makes way by itself.
    {
      condition: `datid IN ($1::text::oid, $2::text::oid) AND backend_type IS DISTINCT FROM 'autovacuum worker'`,
      values: [live.oid, into.oid],
    },
    endSessionsSeconds,
    (who, cause) =>
      stalled(
        'SwapBlocked',
        `Sessions on "${live.name}" could not be ended: ${who.join(', ')}. Stop those programs, or give spec.database.adminUrlFrom the URL of a role that may end them (GRANT pg_signal_backend), then: migration-target reconcile NAME`,
        cause,
      ),
  );
}

async function rename(maintenance: Session, live: OwnDatabase, into: OwnDatabase, aside: OwnDatabase): Promise<void> {
  await maintenance.transaction('', async (transaction) => {
    await transaction.script(
      'Renaming the databases',
      [
        `ALTER DATABASE ${quoteName(live.name)} RENAME TO ${quoteName(aside.name)}`,
        `ALTER DATABASE ${quoteName(into.name)} RENAME TO ${quoteName(live.name)}`,
        `ALTER DATABASE ${quoteName(aside.name)} ALLOW_CONNECTIONS true`,
        `ALTER DATABASE ${quoteName(live.name)} ALLOW_CONNECTIONS true`,
      ].join('; '),
    );
    for (const grantee of await otherGrantees(transaction, live.oid)) {
      await transaction.script(
        'Revoking connections to the old database',
        `REVOKE CONNECT ON DATABASE ${quoteName(aside.name)} FROM ${grantee} CASCADE`,
      );
    }
    // Names were what was renamed; oids are what was meant. Nothing else can rename them until this commits.
    const now = await findDatabases(transaction, [live, into]);
    const isAt = (oid: number, name: string): boolean => now.some((row) => row.oid === oid && row.name === name);
    if (!isAt(live.oid, aside.name) || !isAt(into.oid, live.name)) {
      throw stalled(
        'RecoveryFailed',
        `While "${live.name}" was swapped somebody else renamed databases. See psql -l, put the names right, then: migration-target reconcile NAME`,
      );
    }
  });
}

/** Who may connect beside the owner, quoted; PUBLIC where nothing else was ever said. */
async function otherGrantees(session: Statements, oid: number): Promise<readonly string[]> {
  const rows = await session.rows<{ grantee: string }>(
    'Reading who may connect',
    `SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
     FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE d.oid = $1::text::oid AND a.privilege_type = 'CONNECT' AND a.grantee <> d.datdba`,
    [oid],
  );
  return rows.map(({ grantee }) => grantee);
}

/** Over a new session where the old one broke; where that fails too, the next start finds the database closed and opens it. */
async function openAgain(context: Context, live: OwnDatabase, cause: unknown): Promise<void> {
  try {
    await reopen(await context.onMaintenance(), live);
  } catch (error) {
    const because = cause instanceof Failure ? cause.message : String(cause);
    throw stalled(
      'RecoveryFailed',
      `The swap failed (${because}), and "${live.name}" is still closed. Open it: ALTER DATABASE ${quoteName(live.name)} ALLOW_CONNECTIONS true; or: migration-target reconcile NAME`,
      error,
    );
  }
}

export async function reopen(maintenance: Statements, live: OwnDatabase): Promise<void> {
  const found = await findDatabases(maintenance, [live]);
  const closed = found.find(({ name, oid, open }) => name === live.name && oid === live.oid && !open);
  if (closed)
    await maintenance.script(
      'Opening the live database',
      `ALTER DATABASE ${quoteName(live.name)} ALLOW_CONNECTIONS true`,
    );
}
