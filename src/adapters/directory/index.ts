export { createDirectoryHome, type DirectoryHomeOptions } from './home.ts';
