/** The page: hands files to the worker and shows what it answers. */

import workerSource from "worker-source";

import type { About, Picture, PictureTile, Size } from "../src/index.js";
import type { Answer, Request } from "./protocol.js";

// Of its text: a page that is a file itself may not load a worker from another.
const source = new Blob([workerSource], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(source));
const input = document.querySelector("input")!;
const canvas = document.querySelector("canvas")!;
const status = document.querySelector("[role=status]")!;
const context = canvas.getContext("2d")!;
let newest = 0;
let drawn = 0; // the request that the canvas shows

async function open(files: Iterable<File>): Promise<void> {
  // Weights first: a picture dropped beside them may need them.
  const sorted = [...files].sort((a, b) => Number(isWeights(b)) - Number(isWeights(a)));
  for (const file of sorted) {
    const number = ++newest;
    status.textContent = `Reading ${file.name} …`;
    try {
      const data = await file.arrayBuffer();
      worker.postMessage({ number, name: file.name, data } satisfies Request, [data]);
    } catch (error) {
      status.textContent = `${file.name}: ${(error as Error).message}`; // a folder, for one
    }
  }
}

function isWeights(file: File): boolean {
  return file.name.endsWith(".safetensors");
}

/** Make the canvas as large as the picture of a request, and empty, unless it is that already. */
function prepare(request: number, { width, height }: Size): void {
  if (drawn === request) return;
  drawn = request;
  canvas.width = width;
  canvas.height = height;
}

function drawPreview({ data, width, height }: Picture, whole: Size): void {
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d")!.putImageData(new ImageData(data, width, height), 0, 0);
  context.drawImage(small, 0, 0, whole.width, whole.height);
}

function drawTile({ data, left, top, width, height }: PictureTile): void {
  context.putImageData(new ImageData(data, width, height), left, top);
}

function described({ width, height, quality, cut }: About): string {
  return `${width}×${height}, quality ${quality}${cut ? ", its end is missing" : ""}`;
}

worker.onmessage = ({ data: answer }: MessageEvent<Answer>) => {
  if (answer.number !== newest) return; // of a file that another has taken the place of
  const { name, number, kind } = answer;
  canvas.hidden = kind === "error"; // what it shows is another file's
  if (kind === "error") {
    status.textContent = `${name}: ${answer.message}`;
  } else if (kind === "weights") {
    status.textContent = `${name}: pictures of the model ${answer.modelId} can be shown now.`;
  } else if (kind === "done") {
    status.textContent = `${name}: ${described(answer.about)}`;
  } else {
    prepare(number, answer.whole);
    if (kind === "tile") {
      drawTile(answer.tile);
    } else {
      drawPreview(answer.picture, answer.whole);
      const about = described({ ...answer.picture, ...answer.whole });
      status.textContent = `${name}: ${about} – a preview, the whole is being decoded …`;
    }
  }
};

input.addEventListener("change", () => void open(input.files ?? []));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  void open(event.dataTransfer?.files ?? []);
});
