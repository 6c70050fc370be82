/** Ctrl-C: the first asks to stop at the next safe point, the second ends the program at once. */
import { exitCodes } from './exit-codes.ts';

export interface Interrupts extends Disposable {
  readonly signal: AbortSignal;
}

/** `say` writes a sentence where the person looks, whatever is shown there. */
export function listenForInterrupts(
  say: (text: string) => void,
  messages: { readonly first: string; readonly second: string },
): Interrupts {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (!controller.signal.aborted) {
      say(messages.first);
      controller.abort();
      return;
    }
    say(messages.second);
    process.exit(exitCodes.interrupted);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}

export const stopsSafely = {
  first: 'Stopping at the next safe point: nothing is left half done. Ctrl-C again ends this at once.',
  second:
    'Ended at once. That is safe as well: what was begun is journalled, and the next start finishes it or undoes it.',
} as const;
