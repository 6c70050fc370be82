// jest imports this file and global-teardown.mjs as they are, in one process: they share the module's state.
export { setUp as default } from './testbed.ts';
