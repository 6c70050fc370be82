import type { Statements } from './session.ts';

/**
 * Takes away what leads out of a database that is only tried: who foreign servers are logged in to as, and subscriptions
 * (none of these is data of its own). A foreign table stays, and nobody can read or write through it any more.
 * After a restore, not during it: a materialized view over a foreign table is filled by then.
 */
export async function cutOff(session: Statements): Promise<void> {
  const found = await session.rows<{ sql: string }>(
    'Looking for user mappings and subscriptions',
    `SELECT format('DROP USER MAPPING FOR %s SERVER %I', CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, srvname) AS sql
     FROM pg_user_mappings
     UNION ALL
     SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); DROP SUBSCRIPTION %1$I', subname)
     FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  if (found.length > 0) await session.script('Cutting off', found.map(({ sql }) => sql).join(';\n'));
}
