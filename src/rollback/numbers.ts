/** Numbers as people read them, in every message. Pure. */

/** A whole number as `1,234,567`. To load Intl's locales for it takes longer than to read a database. */
export const grouped = (whole: number): string => String(whole).replace(/\B(?=(\d{3})+$)/g, ',');

/** e.g. `1 row`, `1,234 rows`. */
export const count = (number: number, one: string, many = `${one}s`): string =>
  `${grouped(number)} ${number === 1 ? one : many}`;
