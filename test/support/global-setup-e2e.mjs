export { setUpKube as default } from './testbed.ts';
