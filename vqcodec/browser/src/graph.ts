/** A chain as the bytes of an ONNX model: from `x` to `y`, both `[1, channels, height, width]`. */

import type { Chain } from "./chain.js";
import type { Activation } from "./weights.js";

const IR_VERSION = 8;
const OPSET = 17;
const FLOAT = 1; // of the types of elements
const INTS = 7; // of those of attributes

// The numbers of fields in onnx.proto.
const MODEL = { irVersion: 1, graph: 7, opset: 8 };
const OPERATORS = { domain: 1, version: 2 };
const GRAPH = { node: 1, name: 2, constant: 5, input: 11, output: 12 };
const NODE = { input: 1, output: 2, kind: 4, attribute: 5 };
const ATTRIBUTE = { name: 1, ints: 8, type: 20 };
const TENSOR = { size: 1, type: 2, name: 8, data: 9 };
const VALUE = { name: 1, type: 2 };
const TYPE = { tensor: 1 };
const TENSOR_TYPE = { element: 1, shape: 2 };
const SHAPE = { dimension: 1 };
const DIMENSION = { size: 1, name: 2 };

/** A field of a protobuf message; one that is a message itself is given by its fields. */
function field(number: number, value: number | string | Uint8Array | Uint8Array[]): Uint8Array {
  if (typeof value === "number") return joined([varint(number << 3), varint(value)]);
  let bytes: Uint8Array;
  if (typeof value === "string") bytes = new TextEncoder().encode(value);
  else bytes = value instanceof Uint8Array ? value : joined(value);
  return joined([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Uint8Array {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.of(...bytes, value);
}

function joined(parts: Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}

/** Collects nodes and constants; values go by names. */
class Graph {
  private readonly parts: Uint8Array[] = [field(GRAPH.name, "chain")];
  private count = 0;

  constant(values: Float32Array, shape: number[]): string {
    const name = `c${this.count++}`;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const sizes = shape.map((size) => field(TENSOR.size, size));
    const rest = [field(TENSOR.type, FLOAT), field(TENSOR.name, name), field(TENSOR.data, bytes)];
    this.parts.push(field(GRAPH.constant, [...sizes, ...rest]));
    return name;
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), []);
  }

  op(
    kind: string,
    inputs: string[],
    attributes: Record<string, number[]> = {},
    output = `v${this.count++}`,
  ): string {
    const named = inputs.map((input) => field(NODE.input, input));
    const given = Object.entries(attributes).map(([name, values]) => {
      const ints = values.map((value) => field(ATTRIBUTE.ints, value));
      const about = [field(ATTRIBUTE.name, name), field(ATTRIBUTE.type, INTS)];
      return field(NODE.attribute, [...about, ...ints]);
    });
    const about = [field(NODE.output, output), field(NODE.kind, kind)];
    this.parts.push(field(GRAPH.node, [...named, ...about, ...given]));
    return output;
  }

  /** The bytes of the model that gives a value as `y`. */
  model(value: string, inputs: number, outputs: number): Uint8Array {
    this.op("Identity", [value], {}, "y");
    const ends = [
      field(GRAPH.input, planes("x", inputs)),
      field(GRAPH.output, planes("y", outputs)),
    ];
    const opset = [field(OPERATORS.domain, ""), field(OPERATORS.version, OPSET)];
    return joined([
      field(MODEL.irVersion, IR_VERSION),
      field(MODEL.graph, [...this.parts, ...ends]),
      field(MODEL.opset, opset),
    ]);
  }
}

/** The description of an input or output of so many channels. */
function planes(name: string, channels: number): Uint8Array[] {
  const sizes = [1, channels].map((size) => field(DIMENSION.size, size));
  const sides = ["height", "width"].map((side) => field(DIMENSION.name, side));
  const shape = [...sizes, ...sides].map((each) => field(SHAPE.dimension, each));
  const tensor = [field(TENSOR_TYPE.element, FLOAT), field(TENSOR_TYPE.shape, shape)];
  return [field(VALUE.name, name), field(VALUE.type, field(TYPE.tensor, tensor))];
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
