import { stripTypeScriptTypes } from 'node:module';

/**
 * Jest's transformer: the type stripping by which Node runs this program in a clone, so that tests run the same code. Lines and
 * columns stay where they are.
 */
export default { process: (source) => ({ code: stripTypeScriptTypes(source) }) };
