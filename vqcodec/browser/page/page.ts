/** The page: hands files to the worker and shows what it answers. */

import workerSource from "worker-source";

import type { Picture } from "../src/index.js";
import type { Answer, Request, Size } from "./protocol.js";

// Of its text: a page that is a file itself may not load a worker from another.
const source = new Blob([workerSource], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(source));
const input = document.querySelector("input")!;
const canvas = document.querySelector("canvas")!;
const status = document.querySelector("[role=status]")!;
let newest = 0;

async function open(files: Iterable<File>): Promise<void> {
  // Weights first: a picture dropped beside them may need them.
  const sorted = [...files].sort((a, b) => Number(isWeights(b)) - Number(isWeights(a)));
  for (const file of sorted) {
    const data = await file.arrayBuffer();
    const request: Request = { number: ++newest, name: file.name, data };
    status.textContent = `Reading ${file.name} …`;
    worker.postMessage(request, [data]);
  }
}

function isWeights(file: File): boolean {
  return file.name.endsWith(".safetensors");
}

/** Draw a picture as large as the whole that it is, or is a preview of. */
function draw({ data, width, height }: Picture, whole: Size): void {
  canvas.width = width;
  canvas.height = height;
  canvas.style.width = `${whole.width}px`;
  canvas.style.aspectRatio = `${whole.width} / ${whole.height}`;
  canvas.getContext("2d")!.putImageData(new ImageData(data, width, height), 0, 0);
}

worker.onmessage = ({ data: answer }: MessageEvent<Answer>) => {
  if (answer.number !== newest) return; // of a file that another has taken the place of
  const { name } = answer;
  canvas.hidden = answer.kind === "error"; // what it shows is another file's
  if (answer.kind === "error") {
    status.textContent = `${name}: ${answer.message}`;
  } else if (answer.kind === "weights") {
    status.textContent = `${name}: pictures of the model ${answer.modelId} can be shown now.`;
  } else {
    const { picture } = answer;
    draw(picture, answer.whole);
    const { width, height } = answer.whole;
    const missing = picture.cut ? ", its end is missing" : "";
    const preview = answer.kind === "preview" ? " – a preview, the whole is being decoded …" : "";
    const size = `${width}×${height}, quality ${picture.quality}`;
    status.textContent = `${name}: ${size}${missing}${preview}`;
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
