/** src/main.ts, but what is in the root of a pod lies in a folder: `POD_ROOT`. */
import { runProgram } from '../../src/cli/program.ts';
import { createWiring } from '../../src/main/wiring.ts';

process.exitCode = await runProgram(createWiring({ podRoot: process.env['POD_ROOT'] ?? '' }), process.argv);
