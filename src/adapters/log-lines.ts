/** What a container wrote, as the lines that are shown of it. Pure. */

/** More than is shown of a line, so that a secret at the cut is seen, and kept out, as a whole. */
const mostCharacters = 4_000;

/** Without colours and empty lines. */
export const shownLines = (text: string): readonly string[] =>
  text
    .split(/\r?\n/)
    .map((line) => line.replaceAll(/\u001b\[[0-9;]*[A-Za-z]/g, '').trimEnd())
    .filter((line) => line !== '')
    .map((line) => (line.length > mostCharacters ? `${line.slice(0, mostCharacters - 2)} …`.toWellFormed() : line));
