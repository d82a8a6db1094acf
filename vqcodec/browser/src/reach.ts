/**
 * How far the network looks: the margin that a tile needs to come out as in the whole.
 *
 * In positions of the finest grid. Every phase and every block looks one position away, a transform
 * as far as it overlaps, a block on the picture as far as its convolutions.
 */

import type { Transform, Weights } from "./weights.js";

const OVERLAPS: Record<Transform, number> = { dct: 0, lapped: 4, wavelet: 4 }; // pixels

/** Return how far what follows a state looks, before so many levels of the finest grid. */
export function reach(weights: Weights, level: number): number {
  const { strides, transforms, phases, pictureAfter, synthesisBlocks } = weights.config;
  const stride = strides.at(-1)!;
  const numbers = phases.at(-1)!;
  const overlap = OVERLAPS[transforms.at(-1)!];
  const picture = overlap + pixelsReached(weights);
  const left = numbers.slice(level).reduce((sum, count) => sum + count, 0);
  const sharpened = pictureAfter.filter((after) => after >= level && after < numbers.length).length;
  // The picture of a state, the block, and the way back into the state.
  const loop = left + sharpened * Math.ceil((picture + overlap) / stride);
  return loop + synthesisBlocks + Math.ceil(picture / stride);
}

/** How far the convolutions of a block on the picture look, at half its resolution. */
function pixelsReached(weights: Weights): number {
  let layers = 2; // the first and the last
  while (weights.has(`network.finish.mix.${layers - 2}.weight`)) layers++;
  return 2 * layers;
}
