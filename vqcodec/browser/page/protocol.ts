/** What the page and its worker tell each other. */

import type { Picture } from "../src/index.js";

export interface Request {
  number: number;
  name: string;
  data: ArrayBuffer;
}

export interface Size {
  width: number;
  height: number;
}

/** `whole` is the size of the whole picture, of which a preview has fewer pixels. */
export type Answer = { number: number; name: string } & (
  | { kind: "preview" | "picture"; picture: Picture; whole: Size }
  | { kind: "weights"; modelId: string }
  | { kind: "error"; message: string }
);
