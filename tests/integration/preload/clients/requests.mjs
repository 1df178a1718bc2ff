// Node: http and https with a keep-alive agent, fetch (undici), both resolvers, a worker, a child.
// requests.mjs PLAN CERTIFICATE WORKERS prints what became of each request.

import { createHash } from "node:crypto";
import { execFile } from "node:child_process";
import dns from "node:dns";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";

const [, file, plan, certificate, workers] = process.argv;
const agents = {
    "http:": [http, new http.Agent({ keepAlive: true, maxSockets: 4 })],
    "https:": [https, new https.Agent({ keepAlive: true, maxSockets: 4, ca: readFileSync(certificate) })],
};

function content(size) {
    return Buffer.from("0123456789abcdef".repeat(size / 16 + 1).slice(0, size));
}

function answered(status, body) {
    return `${status} ${body.length} ${createHash("sha256").update(body).digest("hex").slice(0, 16)}`;
}

function withAgent({ kind, method, url, size, timeout }) {
    const where = new URL(url);
    const [library, agent] = agents[where.protocol];
    const body = size ? content(size) : undefined;
    const headers = kind === "close" ? { connection: "close" } : {};
    if (body) headers["content-length"] = body.length;
    return new Promise((resolve, reject) => {
        const request = library.request(where, { method, headers, agent, timeout }, (reply) => {
            const pieces = [];
            reply.on("data", (piece) => pieces.push(piece));
            reply.on("end", () => resolve(answered(reply.statusCode, Buffer.concat(pieces))));
            reply.on("error", reject);
        });
        request.on("timeout", () => request.destroy(new Error("timeout")));
        request.on("error", reject);
        request.end(body);
    });
}

async function withFetch({ kind, method, url, size, timeout }) {
    const reply = await fetch(url, {
        method,
        headers: kind === "close" ? { connection: "close" } : {},
        body: size ? content(size) : undefined,
        signal: AbortSignal.timeout(timeout),
    });
    return answered(reply.status, Buffer.from(await reply.arrayBuffer()));
}

async function ask(step, number) {
    try {
        return await (number % 2 ? withFetch(step) : withAgent(step));
    } catch (error) {
        return `error ${error.code ?? error.cause?.code ?? error.name} ${error.name}`;
    }
}

async function askAll(steps, first, lines) {
    let next = 0;
    const turn = async () => {
        while (next < steps.length) {
            const at = next++;
            lines[at] = await ask(steps[at], first + at);
        }
    };
    await Promise.all(Array.from({ length: Number(workers) }, turn));
    for (const [, agent] of Object.values(agents)) agent.destroy();
    return lines;
}

if (isMainThread) {
    const steps = readFileSync(plan, "ascii").trimEnd().split("\n").map((line) => {
        const [kind, method, url, size, timeout] = line.split("\t");
        return { kind, method, url, size: Number(size), timeout: Number(timeout) };
    });
    const resolver = new dns.promises.Resolver();
    for (const name of ["partner.example", "missing.example"]) {
        for (const look of [dns.promises.lookup, resolver.resolve4.bind(resolver)]) {
            console.log(JSON.stringify(await look(name).catch((error) => error.code)));
        }
    }
    // A third in a worker, some in a child, the rest here.
    const third = Math.floor(steps.length / 3);
    const worker = new Worker(fileURLToPath(import.meta.url), {
        argv: process.argv.slice(2), workerData: { steps: steps.slice(0, third) },
    });
    const inWorker = new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
    });
    const inHere = askAll(steps.slice(third), third, []);
    const plain = steps.find(({ kind, url }) => kind === "small" && url.startsWith("http:")).url;
    const code = `const {get} = require("http"); get(${JSON.stringify(plain)}, (reply) => {
        console.log(reply.statusCode); reply.resume(); }).on("error", (e) => console.log(e.code))`;
    const child = await promisify(execFile)(process.execPath, ["-e", code]);
    console.log(child.stdout.trim());
    for (const line of [...(await inWorker), ...(await inHere)]) console.log(line);
} else {
    parentPort.postMessage(await askAll(workerData.steps, 0, []));
}
