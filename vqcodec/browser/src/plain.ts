/** Chains in plain TypeScript: nothing to load, and slow. */

import type { Chain, Engine, Layer } from "./chain.js";
import { add, type Planes, zeros } from "./planes.js";
import type { Activation } from "./weights.js";

/** Return an engine that needs nothing. */
export function plain(): Engine {
  return {
    run: async (chain, planes) => computed(chain, planes),
    release: async () => {},
  };
}

function computed(chain: Chain, planes: Planes): Planes {
  for (const { layer, activation, residual } of chain) {
    const result = layer.side === 1 ? mapped(layer, planes) : convolved(layer, planes);
    if (activation) activate(activation, result);
    if (residual) add(result, planes);
    planes = result;
  }
  return planes;
}

function mapped({ weight, bias, inputs, outputs }: Layer, planes: Planes): Planes {
  const result = zeros(outputs, planes.height, planes.width);
  const area = planes.height * planes.width;
  for (let output = 0; output < outputs; output++) {
    const sums = result.data.subarray(output * area, (output + 1) * area).fill(bias[output]);
    for (let input = 0; input < inputs; input++) {
      const factor = weight[output * inputs + input];
      const from = input * area;
      for (let place = 0; place < area; place++) sums[place] += factor * planes.data[from + place];
    }
  }
  return result;
}

function convolved({ weight, bias, inputs, outputs }: Layer, planes: Planes): Planes {
  const { height, width } = planes;
  const stride = width + 2;
  const area = (height + 2) * stride;
  const padded = new Float32Array(inputs * area);
  for (let line = 0; line < inputs * height; line++) {
    const to = Math.floor(line / height) * area + ((line % height) + 1) * stride + 1;
    padded.set(planes.data.subarray(line * width, (line + 1) * width), to);
  }
  const result = zeros(outputs, height, width);
  for (let output = 0; output < outputs; output++) {
    for (let row = 0; row < height; row++) {
      const start = (output * height + row) * width;
      const sums = result.data.subarray(start, start + width).fill(bias[output]);
      for (let line = 0; line < 3 * inputs; line++) {
        const from = Math.floor(line / 3) * area + (row + (line % 3)) * stride;
        const place = 3 * (3 * inputs * output + line);
        const [left, middle, right] = [weight[place], weight[place + 1], weight[place + 2]];
        for (let x = 0; x < width; x++) {
          const at = from + x;
          sums[x] += left * padded[at] + middle * padded[at + 1] + right * padded[at + 2];
        }
      }
    }
  }
  return result;
}

function activate(kind: Activation, { data, channels, height, width }: Planes): void {
  if (kind === "relu") {
    for (let place = 0; place < data.length; place++) data[place] = Math.max(data[place], 0);
    return;
  }
  const area = height * width;
  for (let place = 0; place < area; place++) {
    let power = 0;
    for (let at = place; at < data.length; at += area) power += data[at] ** 2;
    const factor = (1 + power / channels / 4) ** -0.25;
    for (let at = place; at < data.length; at += area) {
      const value = data[at] * factor;
      data[at] = value > 0 ? value : value / 10;
    }
  }
}
