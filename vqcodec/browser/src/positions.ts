/** Which positions of a grid a phase holds. */

// Of every square of 2 x 2 positions, as 2 * row + column.
const CELLS: Record<number, number[][]> = {
  1: [[0, 1, 2, 3]],
  2: [
    [0, 3],
    [1, 2],
  ],
  3: [[0], [3], [1, 2]],
};

/** Return the positions that a phase holds, in raster order. */
export function positions(
  phases: number,
  phase: number,
  height: number,
  width: number,
): Uint32Array {
  const cells = CELLS[phases][phase];
  const found = new Uint32Array(height * width);
  let count = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (cells.includes(2 * (row & 1) + (column & 1))) found[count++] = row * width + column;
    }
  }
  return found.slice(0, count);
}
