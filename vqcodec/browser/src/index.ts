/** A decoder of .vqc files. */

export type { Chain, Engine, Layer, Step } from "./chain.js";
export {
  decode,
  type DecodeOptions,
  decodeTiles,
  indices,
  MAX_PIXELS,
  type ReadOptions,
} from "./decode.js";
export { type ErrorCode, VqcError } from "./errors.js";
export type { About, Picture, PictureTile, Size } from "./picture.js";
export { plain } from "./plain.js";
export type { LevelIndices } from "./prior.js";
export { loadWeights, readWeights, type Weights } from "./weights.js";
