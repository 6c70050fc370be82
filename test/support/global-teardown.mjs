export { tearDown as default } from './testbed.ts';
