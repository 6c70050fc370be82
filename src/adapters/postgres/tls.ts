import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type { Endpoint } from './database-url.ts';

/** libpq's meaning of `sslmode`, `sslrootcert` and the like, for Node's TLS: `pg` gives some of them another one. */
export interface Tls {
  readonly options: ConnectionOptions | null;
  /** Without it the connection may go on in the clear, as with libpq's default, `prefer`. */
  readonly required: boolean;
}

export async function tlsFor(endpoint: Endpoint): Promise<Tls> {
  const p = endpoint.parameters;
  const mode = p['sslmode'] ?? 'prefer';
  if (mode === 'disable' || mode === 'allow' || endpoint.host.startsWith('/'))
    return { options: null, required: false };

  const rootCert = p['sslrootcert'] ?? (mode.startsWith('verify-') ? await defaultRootCert() : 'none');
  const trusted = rootCert === 'system' || rootCert === 'none' ? undefined : await readFile(rootCert, 'utf8');
  // With a root certificate `require` verifies the chain too, as libpq does.
  const verifiesChain = mode.startsWith('verify-') || (mode === 'require' && trusted !== undefined);
  const options: ConnectionOptions = { rejectUnauthorized: verifiesChain };
  if (trusted !== undefined) options.ca = trusted;
  if (endpoint.address !== undefined && isIP(endpoint.host) === 0) options.servername = endpoint.host;
  if (mode !== 'verify-full') options.checkServerIdentity = () => undefined;
  if (p['sslcert'] !== undefined) options.cert = await readFile(p['sslcert'], 'utf8');
  if (p['sslkey'] !== undefined) options.key = await readFile(p['sslkey'], 'utf8');
  if (p['sslpassword'] !== undefined) options.passphrase = p['sslpassword'];
  if (p['sslcrl'] !== undefined) options.crl = await readFile(p['sslcrl'], 'utf8');
  return { options, required: mode !== 'prefer' };
}

/** `~/.postgresql/root.crt`, libpq's default place; the system's certificates where there is none. */
async function defaultRootCert(): Promise<string> {
  const path = join(homedir(), '.postgresql', 'root.crt');
  return readFile(path).then(
    () => path,
    () => 'system',
  );
}
