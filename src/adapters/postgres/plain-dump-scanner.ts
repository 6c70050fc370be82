/**
 * Follows a plain dump the way psql's own lexer does, to find the backslash commands in it: psql runs them (`\!` in a
 * shell), wherever they stand outside quotes, comments and COPY data. CVE-2025-8714 and its kin put one there.
 *
 * Stricter than psql wherever the two could differ: what is refused wrongly can be taken out of the file by hand.
 */
export class PlainDumpScanner {
  #lineNumber = 0;
  #state: State = { kind: 'sql' };
  #statement = emptyStatement();
  /** Right after an E'…': a further '…' on the next line would belong to it, with its escapes. */
  #afterEscapes = false;
  #header = false;
  #trailer = false;

  /** Throws a RangeError that names the line. Lines come without their line break, a byte a character. */
  line(text: string): void {
    this.#lineNumber += 1;
    if (this.#state.kind === 'copy') {
      this.#copyLine(text.endsWith('\r') ? text.slice(0, -1) : text);
      return;
    }
    if (this.#state.kind === 'sql') {
      if (text.startsWith('-- PostgreSQL database dump complete')) this.#trailer = true;
      else if (text.startsWith('-- PostgreSQL database dump')) this.#header = true;
      if (/client_encoding/i.test(text) && !safeEncoding.test(text))
        this.#refuse(`${JSON.stringify(text.slice(0, 60))} would change how text is read`);
      if (/^\\(un)?restrict [A-Za-z0-9]+\r?$/.test(text) && this.#statement.text.trim() === '') return;
    }
    this.#scan(text);
  }

  /** Throws a RangeError where the file ended in the middle of something. */
  end(): void {
    if (this.#state.kind !== 'sql')
      this.#refuse('the file ends inside a quote, a comment or COPY data: it was cut short');
    if (this.#statement.text.trim() !== '') this.#refuse('the file ends inside a statement: it was cut short');
    if (this.#header && !this.#trailer)
      this.#refuse('the line "PostgreSQL database dump complete" is missing: the file was cut short');
  }

  #refuse(problem: string): never {
    throw new RangeError(`line ${this.#lineNumber}: ${problem}`);
  }

  /** In COPY's text format a backslash is followed by one of a few characters; `\.` alone ends the data. */
  #copyLine(text: string): void {
    if (text === '\\.') this.#state = { kind: 'sql' };
    else if (text.includes('\\') && /^(?:[^\\]|\\[bfnrtvN\\.0-7x])*(?:\\(?![bfnrtvN\\.0-7x]))/.test(text))
      this.#refuse('a backslash in COPY data that COPY would not have written');
  }

  #scan(text: string): void {
    let at = 0;
    while (at < text.length) {
      if (this.#state.kind === 'copy') {
        if (text.slice(at).trim() !== '') this.#refuse('something follows a COPY … FROM stdin on its line');
        return;
      }
      at = this.#step(text, at);
    }
    if (this.#state.kind === 'comment-line') this.#state = { kind: 'sql' };
    if (this.#state.kind === 'sql') this.#statement.text = keepShort(`${this.#statement.text} `);
  }

  /** Consumes something from `at`; returns where it goes on. */
  #step(text: string, at: number): number {
    const state = this.#state;
    switch (state.kind) {
      case 'comment-line':
        return text.length;
      case 'comment': {
        const found = /\/\*|\*\//g;
        found.lastIndex = at;
        const match = found.exec(text);
        if (!match) return text.length;
        const depth = state.depth + (match[0] === '/*' ? 1 : -1);
        this.#state = depth === 0 ? { kind: 'sql' } : { kind: 'comment', depth };
        return found.lastIndex;
      }
      case 'quote': {
        const found = state.escapes ? /\\.|''|'|\\$/g : /''|'/g;
        found.lastIndex = at;
        const match = found.exec(text);
        if (!match) return text.length;
        if (match[0] === "'") {
          this.#close('q');
          this.#afterEscapes = state.escapes;
        }
        return found.lastIndex;
      }
      case 'name': {
        const found = /""|"/g;
        found.lastIndex = at;
        const match = found.exec(text);
        if (!match) return text.length;
        if (match[0] === '"') this.#close('Q');
        return found.lastIndex;
      }
      case 'dollar': {
        const end = text.indexOf(state.tag, at);
        if (end === -1) return text.length;
        this.#close('q');
        return end + state.tag.length;
      }
      case 'sql':
        return this.#sql(text, at);
      case 'copy':
        return text.length;
    }
  }

  #close(standsFor: 'q' | 'Q'): void {
    this.#state = { kind: 'sql' };
    this.#statement.text = keepShort(this.#statement.text + standsFor);
  }

  #sql(text: string, at: number): number {
    const character = text[at] ?? '';
    if (this.#afterEscapes && character === "'")
      this.#refuse("a string is continued after an E'…' string, which no dump does");
    if (!/[\s\-/]/.test(character)) this.#afterEscapes = false;
    switch (character) {
      case '\\':
        return this.#refuse(
          `the psql command ${JSON.stringify(text.slice(at, at + 20))}: only \\restrict and \\unrestrict are let through (was the dump made with --create, or tampered with?)`,
        );
      case "'":
        this.#state = {
          kind: 'quote',
          escapes: /(^|[^A-Za-z0-9_$\x80-\xff])[eE]$/.test(text.slice(Math.max(0, at - 2), at)),
        };
        return at + 1;
      case '"':
        this.#state = { kind: 'name' };
        return at + 1;
      case '-':
        if (text[at + 1] === '-') {
          this.#state = { kind: 'comment-line' };
          return text.length;
        }
        break;
      case '/':
        if (text[at + 1] === '*') {
          this.#state = { kind: 'comment', depth: 1 };
          return at + 2;
        }
        break;
      case '$': {
        const tag = /^\$([A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$/.exec(text.slice(at, at + 130))?.[0];
        if (tag !== undefined) {
          this.#state = { kind: 'dollar', tag };
          return at + tag.length;
        }
        break;
      }
      case '(':
        this.#statement.parentheses += 1;
        break;
      case ')':
        this.#statement.parentheses = Math.max(0, this.#statement.parentheses - 1);
        break;
      case ';':
        if (this.#statement.parentheses === 0 && this.#statement.blocks === 0) {
          this.#endStatement();
          return at + 1;
        }
        break;
      default: {
        const word = /[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*/y;
        word.lastIndex = at;
        const found = word.exec(text)?.[0];
        if (found !== undefined) {
          const isPrefix = /^(?:[ebxn]'|u&')/i.test(text.slice(at, at + 3));
          if (!isPrefix) this.#word(found.toLowerCase());
          this.#statement.text = keepShort(this.#statement.text + found);
          return at + found.length;
        }
      }
    }
    this.#statement.text = keepShort(this.#statement.text + character);
    return at + 1;
  }

  /** psql does not end a statement inside the BEGIN ATOMIC … END of an SQL function's body. */
  #word(word: string): void {
    const statement = this.#statement;
    if (statement.words.length < 4) statement.words.push(word);
    const [first, second, third, fourth] = statement.words;
    const routine = second === 'or' && third === 'replace' ? fourth : second;
    if (first !== 'create' || (routine !== 'function' && routine !== 'procedure') || statement.parentheses > 0) return;
    if (word === 'begin' || (word === 'case' && statement.blocks > 0)) statement.blocks += 1;
    else if (word === 'end' && statement.blocks > 0) statement.blocks -= 1;
  }

  #endStatement(): void {
    const text = this.#statement.text.trim().replace(/\s+/g, ' ');
    this.#statement = emptyStatement();
    if (/^(create|alter|drop) (database|role|group|tablespace|system|user(?! mapping\b))\b/i.test(text)) {
      this.#refuse(
        `"${text.slice(0, 60)}" is about the whole server: a backup of one database is needed (pg_dump without --create, not pg_dumpall)`,
      );
    }
    if (/^copy\b/i.test(text)) {
      if (!copyFromStdin.test(text)) this.#refuse(`"${text.slice(0, 60)}" is not the COPY … FROM stdin of a dump`);
      this.#state = { kind: 'copy' };
    }
    // What changes how the text that follows is read.
    if (/standard_conforming_strings/i.test(text) && !/^set standard_conforming_strings = on$/i.test(text))
      this.#refuse(`"${text.slice(0, 60)}" would change how quotes are read`);
    if (/^set (session |local )?names\b/i.test(text))
      this.#refuse(`"${text.slice(0, 60)}" would change how text is read`);
  }
}

type State =
  | { readonly kind: 'sql' | 'copy' | 'comment-line' | 'name' }
  | { readonly kind: 'comment'; readonly depth: number }
  | { readonly kind: 'quote'; readonly escapes: boolean }
  | { readonly kind: 'dollar'; readonly tag: string };

/** A statement so far: its start, with `q` for each string and `Q` for each quoted name, without comments. */
interface Statement {
  text: string;
  words: string[];
  parentheses: number;
  blocks: number;
}

const emptyStatement = (): Statement => ({ text: '', words: [], parentheses: 0, blocks: 0 });

/** Statements are told apart by how they begin; a long one is not kept whole. COPY's column lists fit. */
const keepShort = (text: string): string => (text.length > 256 * 1024 ? text.slice(0, 128 * 1024) : text);

/** Encodings in whose characters no byte is an ASCII one: others could hide a quote or a backslash. */
const safeEncoding = /^SET client_encoding = '(UTF8|SQL_ASCII|LATIN\d+|WIN\d+|ISO_8859_\d|KOI8[RU]|EUC_\w+)';\s*$/i;

/** `COPY public."T" (a, Q) FROM stdin`, as pg_dump writes it (`q`, `Q` stand for quoted parts), perhaps with options. */
const copyFromStdin = /^copy [^\s(]+ ?(\([^()]*\) ?)?from stdin( with\b.*)?$/i;
