// Node's fetch: PLAIN-URL SECURE-URL. The certificate comes by NODE_EXTRA_CA_CERTS.
const [plain, secure] = process.argv.slice(2);
const ask = async (url, options) => {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  await answer.arrayBuffer();
};
const post = { method: "POST", body: Buffer.alloc(100_000, "x") };
await ask(`${plain}/one`);
await ask(`${plain}/two`, post);
await ask(`${plain}/three`);
await ask(`${secure}/four`);
await ask(`${secure}/five`, post);
