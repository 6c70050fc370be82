/** The way to an agent: started when it is first needed, and ended once nobody has needed it for a while. */
import { connect, type ClientHttp2Session } from 'node:http2';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure, retry } from '../../rollback/errors.ts';
import type { Child, Launcher, Program } from '../process/launcher.ts';
import { handKey, sealedClient } from './seal.ts';
import { socketOf } from './wire.ts';
import { pingMs, sessionWindow, streamWindow } from './protocol.ts';

/** As much of what an agent complained of as is told. */
const mostComplaint = 2_000;

/** How it ended is known only when it has. */
const patienceMs = 10_000;

export interface VolumeConnection extends AsyncDisposable {
  /** Throws why the agent can't be started. */
  take(): Promise<Taken>;
}

/** An agent that is there until this is given back. */
export interface Taken extends Disposable {
  readonly session: ClientHttp2Session;
  /** What was thrown; or StorageUnavailable, where that was since the agent is gone. */
  explain(thrown: unknown): Promise<unknown>;
}

interface Opened {
  readonly session: ClientHttp2Session;
  /** Resolves, once it has ended, with why; not before. */
  readonly lost: Promise<Failure>;
  readonly end: () => Promise<void>;
}

/** `name`: of the volume, as part of a sentence. `idleMs`: between two uses. */
export function volumeConnection(
  launcher: Launcher,
  program: Program,
  { name, idleMs }: { readonly name: string; readonly idleMs: number },
): VolumeConnection {
  let current: Promise<Opened> | null = null;
  let users = 0;
  let idle: NodeJS.Timeout | undefined;

  function opened(): Promise<Opened> {
    if (current !== null) return current;
    const forget = (): void => {
      if (current === next) current = null;
    };
    const next = launcher.launch(program).then((child) => opening(child, name, forget));
    next.catch(forget);
    current = next;
    return next;
  }

  async function end(): Promise<void> {
    const ending = current;
    current = null;
    clearTimeout(idle);
    // Why it could not be started was told to whoever needed it.
    await (await ending?.catch(() => null))?.end();
  }

  return {
    async take() {
      users += 1;
      clearTimeout(idle);
      const giveBack = (): void => {
        users -= 1;
        if (users === 0) idle = setTimeout(() => void end(), idleMs);
      };
      try {
        const { session, lost } = await opened();
        return {
          session,
          explain: async (thrown) =>
            session.destroyed && !(thrown instanceof Failure)
              ? Promise.race([lost, delay(patienceMs, cut(name, 'the connection to it was cut'), { ref: false })])
              : thrown,
          [Symbol.dispose]: giveBack,
        };
      } catch (thrown) {
        giveBack();
        throw thrown;
      }
    },
    [Symbol.asyncDispose]: end,
  };
}

const cut = (name: string, why: string): Failure =>
  retry('StorageUnavailable', `${name} is no longer served: ${why}. It is tried again by itself.`);

/** `onOver`: nothing can be asked any more. */
async function opening(child: Child, name: string, onOver: () => void): Promise<Opened> {
  let complaint = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (text: string) => (complaint = (complaint + text).slice(-mostComplaint)));
  const key = handKey(child.stdin);
  const socket = sealedClient(await socketOf(child.stdout, child.stdin), key);
  const session = connect('http://volume', {
    createConnection: () => socket,
    settings: { initialWindowSize: streamWindow, enablePush: false },
  });
  session.once('connect', () => session.setLocalWindowSize(sessionWindow));
  // It is told by what was asked, and by how the agent ended.
  session.on('error', () => undefined);
  const pinging = setInterval(() => session.ping(() => undefined), pingMs);
  const close = (): void => {
    clearInterval(pinging);
    session.destroy();
    child.stdin.end();
    onOver();
  };
  session.once('close', close);
  const lost = child.ended.then(({ how, lost: why }) => {
    close();
    const said = complaint.trim() === '' ? '' : `: ${complaint.trim()}`;
    return why ?? cut(name, `its agent ${how}${said}`);
  });
  return {
    session,
    lost,
    async end() {
      close();
      await lost;
    },
  };
}
