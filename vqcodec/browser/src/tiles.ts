/**
 * How the finest grid is divided, so that the memory a picture takes hardly grows with it.
 *
 * A tile is worked on with a margin that is thrown away after: what lies beyond has no part in it.
 */

import type { LevelIndices } from "./prior.js";

const CODED_SIDE = 64; // of a tile that is coded by itself
const CODED_AS_ONE = 25600; // positions of a grid that is not divided for that

/** Rows, or columns, of positions of the finest grid. */
export interface Span {
  start: number;
  end: number;
}

/** Rows and columns. */
export interface Part {
  rows: Span;
  columns: Span;
}

/** What a tile is for, and that with its margin, which begins at even rows and columns. */
export interface Tile extends Part {
  wideRows: Span;
  wideColumns: Span;
}

/** Return the tiles of a grid, of at most `side` x `side` positions; at first they see all of it. */
export function split(height: number, width: number, side: number): Tile[] {
  const whole = { wideRows: { start: 0, end: height }, wideColumns: { start: 0, end: width } };
  const { wideRows: rows, wideColumns: columns } = whole;
  // A grid that is hardly larger is one tile: margins would cost it more.
  if (height * width <= (1.25 * side) ** 2) return [{ rows, columns, ...whole }];
  return pieces(height, side).flatMap((rows) =>
    pieces(width, side).map((columns) => ({ rows, columns, ...whole })),
  );
}

function pieces(length: number, side: number): Span[] {
  const count = Math.ceil(length / side);
  const edge = (piece: number) => Math.floor((length * piece) / count);
  return Array.from({ length: count }, (_, piece) => ({
    start: edge(piece),
    end: edge(piece + 1),
  }));
}

/** Return the tiles that a finest grid is coded in ("Tiles" of docs/format.md). */
export function codedTiles(height: number, width: number): Part[] {
  if (height * width <= CODED_AS_ONE) {
    return [{ rows: { start: 0, end: height }, columns: { start: 0, end: width } }];
  }
  const spans = (length: number) =>
    Array.from({ length: Math.ceil(length / CODED_SIDE) }, (_, place) => ({
      start: CODED_SIDE * place,
      end: Math.min(CODED_SIDE * (place + 1), length),
    }));
  return spans(height).flatMap((rows) => spans(width).map((columns) => ({ rows, columns })));
}

/** Return a tile with no more of its margin than that, and one to begin at even ones. */
export function narrowed(tile: Tile, margin: number): Tile {
  const { rows, columns } = tile;
  const wideRows = widened(rows, margin, tile.wideRows);
  const wideColumns = widened(columns, margin, tile.wideColumns);
  return { rows, columns, wideRows, wideColumns };
}

function widened(span: Span, margin: number, most: Span): Span {
  const start = Math.max(span.start - margin, most.start);
  return { start: start - (start % 2), end: Math.min(span.end + margin, most.end) };
}

/** Where rows or columns lie among some that hold them. */
export function within(span: Span, wider: Span): Span {
  return { start: span.start - wider.start, end: span.end - wider.start };
}

/** Return the indices of a level for a tile with its margin, of those of a whole grid. */
export function cut(level: LevelIndices, tile: Tile, height: number, width: number): LevelIndices {
  const { wideRows: rows, wideColumns: columns } = tile;
  const across = columns.end - columns.start;
  if (across === width && rows.end - rows.start === height) return level;
  return level.map((group) => {
    const books = group.length / (height * width);
    const part = new Uint16Array(books * (rows.end - rows.start) * across);
    eachLine({ rows, columns }, books, height, width, (line, to) =>
      part.set(group.subarray(line, line + across), to),
    );
    return part;
  });
}

/** Write the indices that a part has of a level into those of a whole grid. */
export function paste(
  found: LevelIndices,
  part: Part,
  level: LevelIndices,
  height: number,
  width: number,
): void {
  const across = part.columns.end - part.columns.start;
  for (const [number, group] of level.entries()) {
    const books = group.length / (height * width);
    eachLine(part, books, height, width, (line, from) =>
      group.set(found[number].subarray(from, from + across), line),
    );
  }
}

/** Visit where each row of a part begins in a group of a whole grid, and in one of the part. */
function eachLine(
  { rows, columns }: Part,
  books: number,
  height: number,
  width: number,
  visit: (inWhole: number, inPart: number) => void,
): void {
  const across = columns.end - columns.start;
  for (let book = 0, place = 0; book < books; book++) {
    for (let row = rows.start; row < rows.end; row++, place += across) {
      visit((book * height + row) * width + columns.start, place);
    }
  }
}
