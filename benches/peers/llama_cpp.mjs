// llama.cpp's side of the `smollm2` benchmark, by the npm package node-llama-cpp, whose prebuilt library picks
// the kernels of the processor (AVX-512 with VNNI where there is).
//
//     npm install --ignore-scripts node-llama-cpp@3.22.1
//     node llama_cpp.mjs NODE_MODULES MODEL.gguf THREADS [exact]
//
// A line of JSON in, {"text"} or {"tokens", "n"}, one out: the tokens of the text, or the n likeliest tokens one
// after the other with the milliseconds until the first, of the others, and of the processor. With "exact", keys
// and values are 32-bit floats and attention is not fused, so that only the packed weights are inexact.

import {createInterface} from "node:readline";
import {join, resolve} from "node:path";
import {pathToFileURL} from "node:url";

const [modules, modelPath, count, exact] = process.argv.slice(2);
const entry = pathToFileURL(join(resolve(modules), "node-llama-cpp/dist/index.js"));
const {getLlama, LlamaLogLevel} = await import(entry);
const threads = Number(count);
const llama = await getLlama({
    gpu: false, build: "never", usePrebuiltBinaries: true, logLevel: LlamaLogLevel.error, maxThreads: threads
});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({
    contextSize: 2048, batchSize: 512, threads: {ideal: threads, min: threads},
    ...(exact ? {flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"} : {})
});
const sequence = context.getSequence();
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const processor = () => {
    const {user, system} = process.cpuUsage();
    return (user + system) / 1e3;
};

for await (const line of createInterface({input: process.stdin})) {
    const {text, tokens, n} = JSON.parse(line);
    if (text != null) {
        say({tokens: Array.from(model.tokenize(text, true))});
        continue;
    }
    await sequence.clearHistory();
    const made = [];
    const start = [performance.now(), processor()];
    let first = start;
    for await (const token of sequence.evaluate(tokens, {temperature: 0, yieldEogToken: true})) {
        if (made.length === 0) first = [performance.now(), processor()];
        made.push(token);
        if (made.length >= n) break;
    }
    const end = [performance.now(), processor()];
    say({
        tokens: made,
        prompt: {wall: first[0] - start[0], processor: first[1] - start[1]},
        decode: {wall: end[0] - first[0], processor: end[1] - first[1]},
        system: llama.systemInfo
    });
}
process.exit(0);
