/** Sentences that several commands' help shares. */
export const revisionHelp =
  'another revision than the declared one: an id or its beginning, a label, head, base, or steps from where the database is (-1, +2); what is declared is always the absolute id';
export const yesHelp = 'do it without being asked';
export const nameHelp = 'the target; may be left out where there is only one';
