export { setUpCluster as default } from './testbed.ts';
