/**
 * Layers in a row: what an engine computes.
 *
 * Everything that depends on the quality alone is folded into weights and biases, which leaves
 * convolutions, linear maps and what follows them.
 */

import type { Planes } from "./planes.js";
import type { Activation } from "./weights.js";

/** A convolution of 3 x 3, or a linear map, which is one of 1 x 1. */
export interface Layer {
  weight: Float32Array; // [outputs, inputs, side, side]
  bias: Float32Array;
  inputs: number;
  outputs: number;
  side: 1 | 3;
}

export interface Step {
  layer: Layer;
  activation?: Activation;
  /** Whether what the step is given is added to what it makes of it. */
  residual?: boolean;
}

export type Chain = readonly Step[];

/** Computes chains, and keeps what it made of each of them; kept for one picture, then released. */
export interface Engine {
  run(chain: Chain, planes: Planes): Promise<Planes>;
  release(): Promise<void>;
}
