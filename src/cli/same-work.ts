/**
 * A text that is equal where what is started would be the same. When it is to be interrupted is no part of it, nor the uid of
 * the target, which has none before it is written for the first time.
 */
export const sameWork = (settings: object): string =>
  JSON.stringify(settings, (name, value: unknown) => (name === 'signal' || name === 'uid' ? undefined : value));
