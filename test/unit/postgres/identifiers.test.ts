import { describe, expect, test } from '@jest/globals';

import {
  applicationNameElsewhere,
  cutToBytes,
  derivedName,
  elsewhereMark,
} from '../../../src/adapters/postgres/identifiers.ts';
import { splitQuotedList } from '../../../src/adapters/postgres/properties.ts';

describe('a derived database name', () => {
  test.each([
    ['unicorn', 'unicorn__rabc123'],
    ['x'.repeat(63), `${'x'.repeat(54)}__rabc123`],
    ['ü'.repeat(31), `${'ü'.repeat(27)}__rabc123`],
    ['🦄'.repeat(15), `${'🦄'.repeat(13)}__rabc123`],
  ])('of %s fits 63 bytes, with its id whole and no character cut', (live, expected) => {
    const name = derivedName(live, 'restored', 'abc123');
    expect(name).toBe(expected);
    expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63);
  });

  test('is never the live name', () => {
    expect(() => derivedName('x__rabc', 'restored', 'abc')).not.toThrow();
    const live = `${'x'.repeat(57)}__rabc`;
    expect(() => derivedName(live, 'restored', 'abc')).toThrow('No name can be derived');
  });

  test.each(['', 'a b', 'A', "x'", 'x'.repeat(41)])('takes no id %j', (id) => {
    expect(() => derivedName('db', 'scratch', id)).toThrow('takes an id');
  });
});

test('a name is cut before a character that would not fit whole', () => {
  expect(cutToBytes('aü', 2)).toBe('a');
  expect(cutToBytes('aü', 3)).toBe('aü');
});

test('sessions elsewhere carry which live database they work for', () => {
  expect(applicationNameElsewhere('op', 'one')).toBe(`migration-target/op${elsewhereMark('one')}`);
  expect(elsewhereMark('one')).not.toBe(elsewhereMark('two'));
  expect(applicationNameElsewhere('0123456789', 'one').length).toBeLessThanOrEqual(63);
});

test.each([
  ['"$user", public', ['$user', 'public']],
  ['a,b', ['a', 'b']],
  ['"a "" b, c"', ['a " b, c']],
  ['', []],
])('a list setting %j is taken apart', (value, expected) => {
  expect(splitQuotedList(value)).toEqual(expected);
});
