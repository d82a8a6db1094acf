/** The layers of a network at one quality, with tables over quality folded into them. */

import type { Chain, Layer, Step } from "./chain.js";
import type { NumberArray } from "./safetensors.js";
import type { Weights } from "./weights.js";

const KNOTS = 9;
const PICTURE_PLANES = 12; // of the picture at half its resolution, which blocks on it see first

interface PictureChains {
  seen: Chain;
  change: Chain;
}

/** Makes the chains of a network at a quality, each once: engines keep what they make of one. */
export class Folding {
  private readonly hats: number[];
  private readonly made = new Map<string, unknown>();

  constructor(
    private readonly weights: Weights,
    quality: number,
  ) {
    const place = ((quality - 1) / 99) * (KNOTS - 1);
    this.hats = Array.from({ length: KNOTS }, (_, k) => Math.max(0, 1 - Math.abs(place - k)));
  }

  /** What a table over quality is. */
  table(name: string): Float64Array {
    const { shape, data } = this.array(name);
    const channels = shape[1];
    return Float64Array.from({ length: channels }, (_, channel) =>
      this.hats.reduce((sum, hat, knot) => sum + hat * data[knot * channels + channel], 0),
    );
  }

  array(name: string): NumberArray {
    return this.weights.array(`network.${name}`);
  }

  /** A linear map without a bias, `[outputs, inputs]`. */
  map(name: string): Chain {
    return this.once(name, () => {
      const { shape, data } = this.array(name);
      const [outputs, inputs] = shape;
      const bias = new Float32Array(outputs);
      return [{ layer: { weight: Float32Array.from(data), bias, inputs, outputs, side: 1 } }];
    });
  }

  linear(name: string): Chain {
    return this.once(name, () => [{ layer: this.layer(name) }]);
  }

  /** A block; what comes of it is what it adds to a state. */
  branch(name: string): Chain {
    return this.once(name, () => this.madeBranch(name));
  }

  /** What a block on the picture sees of a state, and what it makes of that and the picture. */
  pictureBlock(name: string): PictureChains {
    return this.once(name, () => this.madePictureBlock(name));
  }

  private once<Made>(name: string, make: () => Made): Made {
    if (!this.made.has(name)) this.made.set(name, make());
    return this.made.get(name) as Made;
  }

  private madeBranch(name: string): Chain {
    const gain = this.table(`${name}.log_gain.table`).map(Math.exp);
    const mix = scaled(this.layer(`${name}.mix`), (input) => gain[input]);
    const out = scaled(this.layer(`${name}.out`), undefined, (output) => 1 / gain[output]);
    return [this.activated(mix, `${name}.scale`, `${name}.shift`), { layer: out }];
  }

  private madePictureBlock(name: string): PictureChains {
    const [gain] = this.table(`${name}.log_gain.table`).map(Math.exp);
    const seen = [{ layer: scaled(this.layer(`${name}.spread`), () => gain) }];
    const enter = scaled(this.layer(`${name}.enter`), (input) =>
      input < PICTURE_PLANES ? gain : 1,
    );
    const steps: Step[] = [this.activated(enter, `${name}.scale.0`, `${name}.shift.0`)];
    for (let number = 0; this.weights.has(`network.${name}.mix.${number}.weight`); number++) {
      const mix = this.layer(`${name}.mix.${number}`);
      const tables = [`${name}.scale.${number + 1}`, `${name}.shift.${number + 1}`] as const;
      steps.push({ ...this.activated(mix, ...tables), residual: true });
    }
    steps.push({ layer: scaled(this.layer(`${name}.out`), undefined, () => 1 / gain) });
    return { seen, change: steps };
  }

  private activated(layer: Layer, scale: string, shift: string): Step {
    const factors = this.table(`${scale}.table`);
    const added = this.table(`${shift}.table`);
    const modulated = scaled(layer, undefined, (output) => 1 + factors[output]);
    modulated.bias.forEach((bias, output) => (modulated.bias[output] = bias + added[output]));
    return { layer: modulated, activation: this.weights.config.activation };
  }

  private layer(name: string): Layer {
    const { shape, data } = this.array(`${name}.weight`);
    const [outputs, inputs, side = 1] = shape;
    const bias = Float32Array.from(this.array(`${name}.bias`).data);
    const weight = Float32Array.from(data);
    return { weight, bias, inputs, outputs, side: side === 3 ? 3 : 1 };
  }
}

/** A layer whose inputs and outputs are multiplied by factors. */
function scaled(
  layer: Layer,
  ofInput: (input: number) => number = () => 1,
  ofOutput: (output: number) => number = () => 1,
): Layer {
  const { inputs, outputs, side } = layer;
  const taps = side * side;
  const weight = new Float32Array(layer.weight.length);
  const bias = new Float32Array(outputs);
  const factors = Float64Array.from({ length: inputs }, (_, input) => ofInput(input));
  for (let output = 0, place = 0; output < outputs; output++) {
    const factor = ofOutput(output);
    bias[output] = layer.bias[output] * factor;
    for (let input = 0; input < inputs; input++) {
      const both = factors[input] * factor;
      for (let tap = 0; tap < taps; tap++, place++) weight[place] = layer.weight[place] * both;
    }
  }
  return { ...layer, weight, bias };
}
