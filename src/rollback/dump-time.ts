/** When a dump of somebody else's script was taken, and of which database, as the name of its file says. Pure. */

/** The oldest that can be: PostgreSQL's first release under this name. */
const earliest = Date.UTC(1997, 0, 29);
/** A clock in a container may be of another time zone than the host's; a file that is a day older than its name is no such case. */
const slackMs = 24 * 3_600_000;

const stamped = /^(?<database>.+?)[_.-](?<date>\d{8})[_T-]?(?<time>\d{6})(?!\d)/;

/** What stands before the time in a name like `unicorn_db_20240131_235900.sql`; null: there is no time in it. */
export const databaseInName = (name: string): string | null => stamped.exec(name)?.groups?.['database'] ?? null;

export interface DumpTime {
  readonly at: Date;
  /** Why the time of the file itself was taken, as a sentence without its end; null: it is the name's, read as local time. */
  readonly because: string | null;
}

export function dumpTime(name: string, modifiedAt: Date, now: Date): DumpTime {
  const { date, time } = stamped.exec(name)?.groups ?? {};
  if (date === undefined || time === undefined)
    return { at: modifiedAt, because: 'its name tells no time, so it is taken to be of when it was last written' };
  const at = localTime(date, time);
  if (at === null || at.getTime() < earliest)
    return {
      at: modifiedAt,
      because: `its name tells no time that can be (${date} ${time}); it was last written then`,
    };
  if (at.getTime() > now.getTime())
    return { at: modifiedAt, because: `its name tells a time to come (${date} ${time}); it was last written then` };
  if (at.getTime() > modifiedAt.getTime() + slackMs)
    return { at: modifiedAt, because: `it is older than its name says (${date} ${time}); it was last written then` };
  return { at, because: null };
}

/** By this host's time zone, as `date` in a script has it; null for a 31st of February. */
function localTime(date: string, time: string): Date | null {
  const part = (text: string, from: number, to: number): number => Number(text.slice(from, to));
  const [year, month, day] = [part(date, 0, 4), part(date, 4, 6), part(date, 6, 8)];
  const [hour, minute, second] = [part(time, 0, 2), part(time, 2, 4), part(time, 4, 6)];
  if (hour > 23 || minute > 59 || second > 60) return null;
  const at = new Date(year, month - 1, day, hour, minute, second);
  return at.getFullYear() === year && at.getMonth() === month - 1 && at.getDate() === day ? at : null;
}
