export { setUpDocker as default } from './testbed.ts';
