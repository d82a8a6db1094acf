/** What the page and its worker tell each other. */

import type { About, Picture, PictureTile, Size } from "../src/index.js";

export interface Request {
  number: number;
  name: string;
  data: ArrayBuffer;
}

/** `whole` is the size of the whole picture, which a preview or a tile is of. */
export type Answer = { number: number; name: string } & (
  | { kind: "preview"; picture: Picture; whole: Size }
  | { kind: "tile"; tile: PictureTile; whole: Size }
  | { kind: "done"; about: About }
  | { kind: "weights"; modelId: string }
  | { kind: "error"; message: string }
);
