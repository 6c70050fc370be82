import { TestEnvironment } from 'jest-environment-node';

/**
 * Jest's environment for Node, in which the errors of Node's own modules are errors too. Jest runs tests in a context that has an
 * `Error` of its own, and what `node:fs` or `node:net` throw is not an instance of it: code that is right in production would fail.
 */
export default class extends TestEnvironment {
  async setup() {
    await super.setup();
    const own = this.global.Error;
    const isInstance = Function.prototype[Symbol.hasInstance];
    Object.defineProperty(own, Symbol.hasInstance, {
      value(value) {
        return isInstance.call(this, value) || (this === own && Error.isError(value));
      },
    });
  }
}
