/** Sentences that become part of others, in every message. Pure. */

/** Without its full stop, to go on after. */
export const asPart = (text: string): string => text.replace(/[.\s]+$/, '');

/** As the beginning of a sentence. A URL stays as it was declared. */
export const capitalized = (text: string): string =>
  /^\w+:\/\//.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
