/** A chain as the bytes of an ONNX model: from `x` to `y`, both `[1, channels, height, width]`. */

import type { Chain } from "./chain.js";
import type { Activation } from "./weights.js";

const IR_VERSION = 8;
const OPSET = 17;
const FLOAT = 1; // as the type of elements
const ATTRIBUTE_INTS = 7;

type Field = [number: number, value: number | string | Uint8Array | Field[]];

/** Return the bytes of a protobuf message. */
function message(fields: Field[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") {
      parts.push(varint(number << 3), varint(value));
      continue;
    }
    let bytes: Uint8Array;
    if (typeof value === "string") bytes = new TextEncoder().encode(value);
    else bytes = value instanceof Uint8Array ? value : message(value);
    parts.push(varint((number << 3) | 2), varint(bytes.length), bytes);
  }
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}

function varint(value: number): Uint8Array {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.of(...bytes, value);
}

/** Collects the nodes and constants of a graph; values go by names. */
class Graph {
  private readonly nodes: Field[] = [];
  private readonly constants: Field[] = [];
  private count = 0;

  constant(values: Float32Array, shape: number[]): string {
    const name = `c${this.count++}`;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const dimensions = shape.map((size): Field => [1, size]);
    this.constants.push([5, [...dimensions, [2, FLOAT], [8, name], [9, bytes]]]);
    return name;
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), []);
  }

  op(kind: string, inputs: string[], attributes: Record<string, number[]> = {}): string {
    const output = `v${this.count++}`;
    const given = Object.entries(attributes).map(([name, ints]): Field => {
      const values = ints.map((value): Field => [8, value]);
      return [5, [[1, name], ...values, [20, ATTRIBUTE_INTS]]];
    });
    const named = inputs.map((input): Field => [1, input]);
    this.nodes.push([1, [...named, [2, output], [4, kind], ...given]]);
    return output;
  }

  /** The bytes of the model that gives a value as `y`. */
  model(output: string, inputs: number, outputs: number): Uint8Array {
    this.nodes.push([1, [[1, output], [2, "y"], [4, "Identity"]]]);
    const ends: Field[] = [[11, planes("x", inputs)], [12, planes("y", outputs)]];
    const graph: Field[] = [...this.nodes, [2, "chain"], ...this.constants, ...ends];
    return message([[1, IR_VERSION], [7, graph], [8, [[1, ""], [2, OPSET]]]]);
  }
}

/** The description of an input or output of so many channels. */
function planes(name: string, channels: number): Field[] {
  const sizes: Field[] = [1, channels].map((size) => [1, [[1, size]]]);
  const sides: Field[] = ["height", "width"].map((side) => [1, [[2, side]]]);
  return [[1, name], [2, [[1, [[1, FLOAT], [2, [...sizes, ...sides]]]]]]];
}

/** Return the model of a chain. */
export function modelOf(chain: Chain): Uint8Array {
  const graph = new Graph();
  let value = "x";
  for (const { layer, activation, residual } of chain) {
    const { inputs, outputs, side } = layer;
    const weight = graph.constant(layer.weight, [outputs, inputs, side, side]);
    const bias = graph.constant(layer.bias, [outputs]);
    const pads = Array(4).fill((side - 1) / 2);
    let made = graph.op("Conv", [value, weight, bias], { pads });
    if (activation) made = activated(graph, activation, made);
    value = residual ? graph.op("Add", [value, made]) : made;
  }
  return graph.model(value, chain[0].layer.inputs, chain.at(-1)!.layer.outputs);
}

function activated(graph: Graph, kind: Activation, u: string): string {
  if (kind === "relu") return graph.op("Relu", [u]);
  const power = graph.op("ReduceMean", [graph.op("Mul", [u, u])], { axes: [1] });
  const wide = graph.op("Add", [graph.op("Mul", [power, graph.scalar(0.25)]), graph.scalar(1)]);
  const factor = graph.op("Pow", [wide, graph.scalar(-0.25)]);
  const bounded = graph.op("Mul", [u, factor]);
  return graph.op("Max", [bounded, graph.op("Mul", [bounded, graph.scalar(0.1)])]);
}
