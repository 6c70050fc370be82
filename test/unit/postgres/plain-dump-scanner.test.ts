import { describe, expect, test } from '@jest/globals';

import { PlainDumpScanner } from '../../../src/adapters/postgres/plain-dump-scanner.ts';

/** Null where the whole text is let through, else the problem. */
function problemOf(text: string): string | null {
  const scanner = new PlainDumpScanner();
  try {
    for (const line of text.split('\n')) scanner.line(line);
    scanner.end();
    return null;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

describe('a plain dump is let through with', () => {
  test.each([
    ['\\restrict and \\unrestrict', '\\restrict AbC123\nSELECT 1;\n\\unrestrict AbC123\n'],
    ['COPY data of any kind', 'COPY public.t (a, "b c") FROM stdin;\n1\\t\\N\t\\\\!\n\\\\x00ff\ta;b\n\\.\nSELECT 1;'],
    ['a backslash in a string', "SELECT '\\d+', E'a\\'\\\\', 'it''s \\! fine';"],
    ['a backslash in a quoted name', 'SELECT 1 AS "a\\! b";'],
    [
      'a backslash in a dollar-quoted body',
      "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ SELECT '\\! id' $_$;",
    ],
    ['a backslash in comments', '-- \\! id\n/* \\! /* \\! */ \\! */ SELECT 1;'],
    ['quotes in comments', "-- it's\nSELECT 1; /* ' \" $$ */"],
    ['a string over lines', "SELECT 'a\n\\! b\n';"],
    [
      'an SQL function with a body of statements',
      'CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\nSELECT 1;',
    ],
    ['a dollar sign inside a name', 'SELECT a$b$c FROM t;'],
    [
      'the header and the trailer of pg_dump',
      "-- PostgreSQL database dump\nSET standard_conforming_strings = on;\nSET client_encoding = 'UTF8';\n-- PostgreSQL database dump complete\n",
    ],
    ['a user mapping', 'CREATE USER MAPPING FOR u SERVER s;'],
  ])('%s', (_, text) => {
    expect(problemOf(text)).toBeNull();
  });
});

describe('a plain dump is refused with', () => {
  test.each([
    ['\\! at the start of a line', 'SELECT 1;\n\\! id\n', 'line 2: the psql command'],
    ['\\copy', "\\copy t from program 'id'", 'line 1: the psql command'],
    ['\\connect', '\\connect other', 'line 1: the psql command'],
    ['a command in the middle of a line', 'SELECT 1 \\g |id', 'line 1: the psql command'],
    ['\\restrict with something behind it', '\\restrict abc \\! id', 'line 1: the psql command'],
    ['\\restrict inside a statement', 'SELECT\n\\restrict abc\n1;', 'line 2: the psql command'],
    ['a command after COPY on its line', 'COPY t FROM stdin; \\! id\n\\.\n', 'line 1: something follows'],
    ['a command after COPY data', 'COPY t FROM stdin;\n1\n\\.\n\\! id', 'line 4: the psql command'],
    ['a command in COPY data', 'COPY t FROM stdin;\n\\! id\n\\.\n', 'line 2: a backslash in COPY data'],
    [
      'COPY data that psql would read as commands',
      'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC; COPY t FROM stdin;\n\\! id\n\\.\n',
      'line 2: the psql command',
    ],
    ['COPY inside parentheses', '( ; COPY t FROM stdin;\n\\! id\n', 'line 2: the psql command'],
    ['COPY from a program', "COPY t FROM PROGRAM 'id';", 'is not the COPY'],
    ['COPY to a file', "COPY t TO '/tmp/x';", 'is not the COPY'],
    [
      'a command after a string that a setting would make longer',
      "SET standard_conforming_strings = off;\nSELECT 'a\\'; \\! id';",
      'line 1: "SET standard_conforming_strings = off"',
    ],
    ['a string continued on another line', "SELECT E'a'\n'\\'';\n\\! id\n--'", 'line 2: a string is continued'],
    ['an encoding whose characters can hide a quote', "SET client_encoding = 'SJIS';", 'line 1: '],
    ['CREATE DATABASE', 'CREATE DATABASE x;', 'about the whole server'],
    ['ALTER ROLE', 'ALTER ROLE x SUPERUSER;', 'about the whole server'],
    ['ALTER SYSTEM', "ALTER SYSTEM SET archive_command = 'id';", 'about the whole server'],
    ['CREATE USER', 'CREATE USER x;', 'about the whole server'],
    ['an end inside a statement', 'CREATE TABLE t (a int', 'cut short'],
    ['an end inside COPY data', 'COPY t FROM stdin;\n1\n', 'cut short'],
    ['an end inside a string', "SELECT 'a", 'cut short'],
    ['its trailer missing', '-- PostgreSQL database dump\nSELECT 1;\n', 'cut short'],
  ])('%s', (_, text, problem) => {
    expect(problemOf(text)).toContain(problem);
  });
});
