/**
 * Imported before any module that makes a schema: most are used once or twice, and compiling a parser for each takes longer
 * than all that is ever parsed with it (a tenth of a command's time; a target's declaration is read 6 µs slower).
 */
import { config } from 'zod';

config({ jitless: true });
