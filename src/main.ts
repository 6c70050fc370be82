/** Wires adapters to the command line, and nothing else. Each is loaded when it is first used. */
import './main/zod.ts';
import { runProgram } from './cli/program.ts';
import { createWiring } from './main/wiring.ts';

process.exitCode = await runProgram(createWiring(), process.argv);
