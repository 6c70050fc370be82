/** Any URL's password, whoever wrote it down. */
const urlPassword = /([a-z][\w+.-]*:\/\/[^\s:/@]*:)[^\s@]+(?=@)/gi;

/** Makes a function that replaces each of the secrets, and the password of any URL, by `***`. */
export function masker(secrets: Iterable<string>): (text: string) => string {
  // The longest first: one may contain another.
  const known = [...new Set(secrets)].filter((secret) => secret !== '').sort((a, b) => b.length - a.length);
  return (text) =>
    known.reduce((masked, secret) => masked.replaceAll(secret, '***'), text).replace(urlPassword, '$1***');
}
