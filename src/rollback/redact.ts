/**
 * The last line of defence: secrets are kept out of messages where these are made; what slips through all the same,
 * e.g. in the text of a driver's error, ends here.
 */

// What stands for one character may be JSON's escape of one (`\"`), which must never be cut in two.
const secrets: readonly [RegExp, string][] = [
  // postgresql://user:secret@host; a raw `@`, `:` or `/` in the secret is covered as well
  [/(:\/\/[^\s:/@"\\]*:)(?:\\.|[^\s"\\])*@/g, '$1***@'],
  // password=secret, PGPASSWORD='secret with blanks', ?sslpassword=secret, token=secret, AWS_SECRET_ACCESS_KEY=secret
  [
    /((?:password|passwd|passphrase|secret|token|(?:api|access)[_-]?key)\s*=\s*)(?:'(?:\\.|[^'"\\])*'|(?:\\.|[^\s&"\\])+)/gi,
    '$1***',
  ],
  [/(\bBearer\s+)[^\s"\\]+/gi, '$1***'],
];

/** The text without what looks like a password or a token. Keeps JSON valid. */
export function redact(text: string): string {
  return secrets.reduce((result, [pattern, replacement]) => result.replace(pattern, replacement), text);
}
